package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// result is what package tools/bench/load prints, too.
type result struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_us,omitempty"`
	P99        float64 `json:"p99_us,omitempty"`
	Keys       int     `json:"keys,omitempty"`
	Bytes      int64   `json:"bytes,omitempty"`
}

// gate says that everything is prepared, and waits for the word to begin.
func gate() (done func(result) error, err error) {
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("wait for the word to begin: %w", err)
	}
	return func(r result) error {
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, in)
		return err
	}, nil
}

// dial connects, and waits until the server has a leader.
func dial(ctx context.Context, url string) (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: 30 * time.Second, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	if _, err := c.Get(ctx, "ready"); err != nil {
		leave(c)
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	return c, nil
}

// leave closes a client; that fails only where the connection is gone.
func leave(c *clientv3.Client) { _ = c.Close() }

// prefix of the keys, which are as long as the subjects of facts are.
const prefix = "facts/k8s/pod/"

func key(n int) string { return fmt.Sprintf("%sapp-%d/pod-%d", prefix, n%200, n) }

// value is so many bytes that look random; the same number gives the same bytes.
func value(n, bytes int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-."
	source := rand.NewPCG(20261125, uint64(n))
	out := make([]byte, 0, bytes+10)
	for len(out) < bytes {
		for bits := source.Uint64(); bits > 0 && len(out) < bytes; bits >>= 6 {
			out = append(out, letters[bits&63])
		}
	}
	return string(out)
}

// times are durations of single operations, taken by several goroutines.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d ...time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d...)
}

func (t *times) into(r *result) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Operations = len(t.all); r.Operations == 0 {
		return errors.New("nothing was done in the time")
	}
	slices.Sort(t.all)
	at := func(percent int) float64 { return float64(t.all[(len(t.all)-1)*percent/100].Nanoseconds()) / 1e3 }
	r.P50, r.P99 = at(50), at(99)
	return nil
}

// written is how many different keys single writes are of.
const written = 10_000

func write(ctx context.Context, url string, writers int, during time.Duration, bytes int) error {
	c, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer leave(c)
	values := make([]string, written)
	for i := range values {
		values[i] = value(i, bytes)
	}
	done, err := gate()
	if err != nil {
		return err
	}
	var next atomic.Int64
	var all times
	writing, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range writers {
		writing.Go(func() error {
			var own []time.Duration
			for time.Since(start) < during {
				n := int(next.Add(1)-1) % written
				begun := time.Now()
				if _, err := c.Put(ctx, key(n), values[n]); err != nil {
					return fmt.Errorf("write: %w", err)
				}
				own = append(own, time.Since(begun))
			}
			all.add(own...)
			return nil
		})
	}
	err = writing.Wait()
	r := result{Seconds: time.Since(start).Seconds()}
	if err == nil {
		err = all.into(&r)
	}
	if err != nil {
		return err
	}
	return done(r)
}

const (
	// together is how many keys a transaction of fill puts; etcd takes 128.
	together = 100
	// filling is how many transactions are under way at once.
	filling = 8
)

func fill(ctx context.Context, url string, keys, from, to, bytes int) error {
	c, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer leave(c)
	done, err := gate()
	if err != nil {
		return err
	}
	start, r := time.Now(), result{}
	for revision := from; revision < to; revision++ {
		writing, ctx := errgroup.WithContext(ctx)
		writing.SetLimit(filling)
		for at := 0; at < keys; at += together {
			var puts []clientv3.Op
			for n := at; n < min(at+together, keys); n++ {
				k, v := key(n), value(revision*keys+n, bytes)
				puts = append(puts, clientv3.OpPut(k, v))
				r.Operations, r.Bytes = r.Operations+1, r.Bytes+int64(len(k)+len(v))
			}
			writing.Go(func() error {
				_, err := c.Txn(ctx).Then(puts...).Commit()
				return err
			})
		}
		if err := writing.Wait(); err != nil {
			return fmt.Errorf("fill: revision %d: %w", revision, err)
		}
	}
	r.Keys, r.Seconds = keys, time.Since(start).Seconds()
	return done(r)
}

// page is how many keys are listed at once.
const page = 5000

func list(ctx context.Context, url string) error {
	c, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer leave(c)
	done, err := gate()
	if err != nil {
		return err
	}
	start, r := time.Now(), result{}
	end := clientv3.GetPrefixRangeEnd(prefix)
	var revision int64
	for from, more := prefix, true; more; {
		answer, err := c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision))
		if err != nil {
			return fmt.Errorf("list from %q: %w", from, err)
		}
		for _, kv := range answer.Kvs {
			r.Keys++
			r.Bytes += int64(len(kv.Key) + len(kv.Value))
			from = string(kv.Key) + "\x00"
		}
		revision, more = answer.Header.Revision, answer.More
	}
	r.Operations, r.Seconds = r.Keys, time.Since(start).Seconds()
	return done(r)
}
