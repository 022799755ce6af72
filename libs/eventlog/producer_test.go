package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
)

func TestWhatManyPublishAtOnceSharesSyncs(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	registry := prometheus.NewRegistry()
	p := l.Producer("watcher")
	p.Observe(eventlog.NewPublishMetrics(registry))
	const callers, each = 200, 3
	var working sync.WaitGroup
	for i := range callers {
		working.Go(func() {
			last := uint64(0)
			for j := range each {
				sequence, err := p.Publish(t.Context(), namespace(fmt.Sprintf("ns-%d-%d", i, j)))
				if err != nil || sequence <= last {
					t.Errorf("caller %d: sequence %d after %d, %v", i, sequence, last, err)
				}
				last = sequence
			}
		})
	}
	working.Wait()
	facts := 0
	for e, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if facts++; e.Fact.GetCounter() != e.Sequence {
			t.Fatalf("fact %d of the producer is at sequence %d", e.Fact.GetCounter(), e.Sequence)
		}
	}
	syncs, stored := batches(t, registry)
	if facts != callers*each || stored != callers*each || syncs >= facts/5 {
		t.Errorf("%d facts are there, %v were counted, with %d syncs", facts, stored, syncs)
	}
}

// batches gives how many exchanges stored how many facts.
func batches(t *testing.T, registry *prometheus.Registry) (exchanges, facts int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "ringfence_publish_batch_facts" && f.GetType() == dto.MetricType_HISTOGRAM {
			h := f.GetMetric()[0].GetHistogram()
			return int(h.GetSampleCount()), int(h.GetSampleSum())
		}
	}
	t.Fatal("no metric of batches")
	return 0, 0
}

// proxy stands between a client and the server.
type proxy struct {
	listener net.Listener
	server   string
	// deaf keeps the server's answers from the client.
	deaf atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: at.Host}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.listener.Close(); p.cut() })
	go func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.join(client)
		}
	}()
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) join(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, client) // ends when either side does
		server.Close()
	}()
	go func() {
		defer client.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			if p.deaf.Load() {
				continue
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func TestALostAnswerStoresNothingTwice(t *testing.T) {
	for _, facts := range []int{1, 120} {
		t.Run(fmt.Sprintf("%d facts", facts), func(t *testing.T) {
			s, watched := eventlogtest.StartLog(t)
			between := startProxy(t, s.URL())
			nc, err := eventlog.Dialer{URL: between.url(), Name: "watcher", Log: zerolog.Nop()}.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			l, err := eventlog.Open(t.Context(), nc)
			if err != nil {
				t.Fatal(err)
			}
			p, err := l.Lead(t.Context(), "watcher", "test")
			if err != nil {
				t.Fatal(err)
			}
			between.deaf.Store(true)
			published := make(chan error, 1)
			go func() { published <- p.PublishAll(t.Context(), namespaces(facts)) }()
			eventlogtest.Eventually(t, func() error {
				if last, err := watched.LastSequence(t.Context()); err != nil || last != uint64(facts)+1 {
					return fmt.Errorf("the log ends at %d, %w", last, err)
				}
				return nil
			})
			between.deaf.Store(false)
			between.cut()
			select {
			case err := <-published:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("not published within 30 s")
			}
			if got := collect(t, watched.Read(t.Context(), 0, 0)); len(got) != facts+1 {
				t.Errorf("%d facts beside the epoch, want %d", len(got)-1, facts)
			}
			publish(t, p, namespace("after"))
			if got := collect(t, watched.Read(t.Context(), 0, 0)); got[len(got)-1] != fmt.Sprintf("%d #%d after", facts+2, facts+2) {
				t.Errorf("the next fact is %s", got[len(got)-1])
			}
		})
	}
}

func TestACallerWhoGoesAwayLeavesTheOthers(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("first"))
	s.Stop()
	impatient, leave := context.WithCancel(t.Context())
	outcome := make(chan error, 2)
	go func() { _, err := p.Publish(impatient, namespace("impatient")); outcome <- err }()
	time.Sleep(50 * time.Millisecond)
	patient := make(chan error, 1)
	go func() { _, err := p.Publish(t.Context(), namespace("patient")); patient <- err }()
	time.Sleep(50 * time.Millisecond)
	leave()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away is told %v", err)
	}
	s.Restart()
	select {
	case err := <-patient:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("who waits is not served")
	}
}

// answerTime is long enough for any answer of the server.
const answerTime = 10 * time.Second

// storedFact gives the bytes of a fact as the log holds them.
func storedFact(t *testing.T, s *eventlogtest.Server, sequence uint64) []byte {
	t.Helper()
	js, err := jetstream.New(s.Conn("reader"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "FACTS")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	return msg.Data
}
