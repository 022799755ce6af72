package shop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Result is what one probe of one target saw.
type Result struct {
	// Target is the host:port as it was given.
	Target string `json:"target"`
	// Connected is true when the connection opened and the request was answered in time.
	Connected bool `json:"connected"`
	// Milliseconds from the start (name look-up included) to the answer or to the failure.
	Milliseconds int64 `json:"ms"`
	// Error says which step failed and why; empty when Connected.
	Error string `json:"error,omitempty"`
}

// Probe tries all targets at the same time and returns their results in the order of the targets. It takes no longer
// than the timeout, or than the context lasts.
func Probe(ctx context.Context, targets []string, timeout time.Duration) []Result {
	results := make([]Result, len(targets))
	var probes sync.WaitGroup
	for i, target := range targets {
		probes.Go(func() { results[i] = probeOne(ctx, target, timeout) })
	}
	probes.Wait()
	return results
}

// AllConnected says whether every probe reached its target.
func AllConnected(results []Result) bool {
	for _, r := range results {
		if !r.Connected {
			return false
		}
	}
	return true
}

func probeOne(ctx context.Context, target string, timeout time.Duration) Result {
	start := time.Now()
	err := exchange(ctx, target, timeout)
	result := Result{Target: target, Connected: err == nil, Milliseconds: time.Since(start).Milliseconds()}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

// exchange opens a connection, sends a request that an HTTP server answers and an echo server repeats, and waits for
// the first bytes of the answer.
func exchange(ctx context.Context, target string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return fmt.Errorf("connect: %s", reason(err))
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target); err != nil {
		return fmt.Errorf("send request: %s", reason(err))
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		return fmt.Errorf("wait for answer: %s", reason(err))
	}
	return nil
}

// reason shortens an error of the net package to its cause, because the target stands beside it already.
func reason(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return "timed out"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
