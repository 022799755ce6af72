package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// Service is a started service: its logger, its metrics and its health. All methods are safe for concurrent use.
type Service struct {
	Log     zerolog.Logger
	Metrics *prometheus.Registry

	server   *http.Server
	listener net.Listener

	mu         sync.Mutex
	components map[string]error
}

var errStarting = errors.New("starting")

// Start opens what c asks for. The service is not ready before Ready was called with nil for each of components.
// Close it when the service ends.
func Start(ctx context.Context, name string, c Config, components ...string) (*Service, error) {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("log level %q: use trace, debug, info, warn or error", c.LogLevel)
	}
	s := &Service{
		Log:        zerolog.New(os.Stderr).Level(level).With().Timestamp().Str("service", name).Logger(),
		Metrics:    prometheus.NewRegistry(),
		components: map[string]error{},
	}
	for _, component := range components {
		s.components[component] = errStarting
	}
	s.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.HTTPAddress == "" {
		return s, nil
	}
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "tcp", c.HTTPAddress); err != nil {
		return nil, fmt.Errorf("health and metrics on %s: %w", c.HTTPAddress, err)
	}
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.Log.Error().Err(err).Msg("health and metrics are no longer served")
		}
	}()
	return s, nil
}

// Address is where health and metrics are served; empty when they are not.
func (s *Service) Address() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Ready sets the state of a component: nil is ready, an error says in words what it waits for.
func (s *Service) Ready(component string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.components[component] = err
}

// Close stops serving health and metrics.
func (s *Service) Close() {
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.Log.Warn().Err(err).Msg("health and metrics did not stop in time")
	}
}

func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if waiting := s.waiting(); waiting != "" {
			answer(w, http.StatusServiceUnavailable, waiting)
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	return mux
}

func (s *Service) waiting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for component, err := range s.components {
		if err != nil {
			lines = append(lines, component+": "+err.Error())
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // the prober hung up: nothing to do
}
