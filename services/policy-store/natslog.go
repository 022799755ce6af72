package policystore

import "github.com/rs/zerolog"

// natsLog passes the server's lines on to the service's log.
type natsLog struct {
	log zerolog.Logger
}

func (l natsLog) Noticef(format string, args ...any) { l.log.Debug().Msgf(format, args...) }
func (l natsLog) Warnf(format string, args ...any)   { l.log.Warn().Msgf(format, args...) }
func (l natsLog) Errorf(format string, args ...any)  { l.log.Error().Msgf(format, args...) }
func (l natsLog) Debugf(format string, args ...any)  { l.log.Debug().Msgf(format, args...) }
func (l natsLog) Tracef(format string, args ...any)  { l.log.Trace().Msgf(format, args...) }

// Fatalf does not end the process: the start or the listening fails, and is tried again.
func (l natsLog) Fatalf(format string, args ...any) { l.log.Error().Msgf(format, args...) }
