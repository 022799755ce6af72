package policystore

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// natsLog passes the server's lines on to the service's log. It is also how the service learns that a stream failed to
// write: the server refuses to store from then on, and tells nobody in another way.
type natsLog struct {
	log     zerolog.Logger
	damaged *atomic.Bool
}

func (l *natsLog) Noticef(format string, args ...any) { l.log.Debug().Msgf(format, args...) }
func (l *natsLog) Warnf(format string, args ...any)   { l.log.Warn().Msgf(format, args...) }
func (l *natsLog) Debugf(format string, args ...any)  { l.log.Debug().Msgf(format, args...) }
func (l *natsLog) Tracef(format string, args ...any)  { l.log.Trace().Msgf(format, args...) }

// Fatalf does not end the process: the start or the listening fails, and is tried again.
func (l *natsLog) Fatalf(format string, args ...any) { l.log.Error().Msgf(format, args...) }

func (l *natsLog) Errorf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if strings.Contains(line, "write error") || strings.Contains(line, "will be DISABLED") {
		l.damaged.Store(true)
	}
	l.log.Error().Msg(line)
}
