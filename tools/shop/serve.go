package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// connectionLife bounds one client's connection, so that a client that went away holds nothing.
	connectionLife = 30 * time.Second
	// maxEchoes bounds the connections that the database serves at once; further ones wait.
	maxEchoes = 256
	// stopTime is how long a server that was asked to stop lets its clients finish.
	stopTime = time.Second
)

// Identity is how a server answers who it is.
type Identity struct {
	// Name of the part of the shop: web, api, ledger.
	Name string `json:"name"`
	// Pod is the host name, which in Kubernetes is the pod's name.
	Pod string `json:"pod"`
}

// ServeHTTP answers on the listener until the context ends: "/" with the identity as JSON, "/healthz" with ok. It
// closes the listener.
func ServeHTTP(ctx context.Context, listener net.Listener, who Identity) error {
	server := &http.Server{Handler: handler(who), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: connectionLife}
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		_ = server.Shutdown(ending)
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s on %s: %w", who.Name, listener.Addr(), err)
	}
	return nil
}

func handler(who Identity) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(who)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// ServeTCP echoes what its clients send until the context ends. It closes the listener and waits for its clients'
// connections to end, which it cuts.
func ServeTCP(ctx context.Context, listener net.Listener) error {
	var clients errgroup.Group
	clients.SetLimit(maxEchoes)
	defer func() { _ = clients.Wait() }()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", listener.Addr(), err)
		}
		clients.Go(func() error { echo(ctx, conn); return nil })
	}
}

func echo(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(connectionLife))
	_, _ = io.Copy(conn, conn)
}
