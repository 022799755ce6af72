package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// watched is the key of the fan-out.
const watched = "policy/window"

// patience is how long the last delivery may take.
const patience = time.Minute

// fanOut has every watcher watch one key, and puts it again and again: the number of the time in decimal digits, and bytes.
func fanOut(ctx context.Context, url string, watchers, windows, rate, bytes int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer leave(c)
	w := &watching{sent: make([]atomic.Int64, windows)}
	if err := w.start(ctx, url, watchers); err != nil {
		return err
	}
	defer w.close()
	done, err := gate()
	if err != nil {
		return err
	}
	start := time.Now()
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for n := range windows {
		v := fmt.Sprintf("%08d", n)
		w.sent[n].Store(time.Since(epoch).Nanoseconds())
		if _, err := c.Put(ctx, watched, v+value(n, bytes-len(v))); err != nil {
			return fmt.Errorf("fan out: %w", err)
		}
		<-ticker.C
	}
	if err := w.await(ctx, watchers*windows); err != nil {
		return err
	}
	r := result{Seconds: time.Since(start).Seconds()}
	if err := w.times.into(&r); err != nil {
		return err
	}
	return done(r)
}

// epoch is what times are taken from, so that they fit a number.
var epoch = time.Now()

// watching is what the watchers saw.
type watching struct {
	sent    []atomic.Int64
	times   times
	clients []*clientv3.Client
}

// joining is how many watchers connect at once.
const joining = 32

// start connects the watchers, and returns once all of them watch.
func (w *watching) start(ctx context.Context, url string, watchers int) error {
	w.clients = make([]*clientv3.Client, watchers)
	connecting, connected := errgroup.WithContext(ctx)
	connecting.SetLimit(joining)
	for i := range w.clients {
		connecting.Go(func() (err error) {
			if w.clients[i], err = dial(ctx, url); err != nil {
				return err
			}
			events := w.clients[i].Watch(ctx, watched, clientv3.WithCreatedNotify())
			select {
			case <-events:
			case <-connected.Done():
				return connected.Err()
			}
			go w.follow(events)
			return nil
		})
	}
	return connecting.Wait()
}

func (w *watching) follow(events clientv3.WatchChan) {
	for answer := range events {
		now := time.Since(epoch)
		for _, e := range answer.Events {
			if n, err := strconv.Atoi(string(e.Kv.Value[:8])); err == nil && n < len(w.sent) {
				w.times.add(now - time.Duration(w.sent[n].Load()))
			}
		}
	}
}

// await waits until so many deliveries came.
func (w *watching) await(ctx context.Context, deliveries int) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		w.times.mu.Lock()
		came := len(w.times.all)
		w.times.mu.Unlock()
		switch {
		case came == deliveries:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("fan out: %d of %d deliveries came", came, deliveries)
		}
	}
}

func (w *watching) close() {
	for _, c := range w.clients {
		leave(c)
	}
}
