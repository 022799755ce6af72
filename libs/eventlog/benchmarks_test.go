package eventlog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// pods are facts of about 500 bytes each.
func pods(n int) []eventlog.Draft {
	ds := make([]eventlog.Draft, 0, n)
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		ds = append(ds, eventlog.Draft{
			Subject: eventlog.KubernetesSubject("pod", "shop", name),
			Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
				Namespace: "shop", Name: name, Uid: name, Annotations: map[string]string{"com.illumio.app": strings.Repeat("x", 400)},
			}}},
		})
	}
	return ds
}

// BenchmarkPublish stores facts one by one, each synced to the disk.
func BenchmarkPublish(b *testing.B) {
	_, l := eventlogtest.StartLog(b)
	p, ds := l.Producer("watcher"), pods(1000)
	for i := 0; b.Loop(); i++ {
		if _, err := p.Publish(b.Context(), ds[i%len(ds)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "facts/s")
}

// BenchmarkPublishAll stores 5,000 facts at once, as a relist does.
func BenchmarkPublishAll(b *testing.B) {
	_, l := eventlogtest.StartLog(b)
	p, ds := l.Producer("watcher"), pods(5000)
	for b.Loop() {
		if err := p.PublishAll(b.Context(), ds); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(ds))/b.Elapsed().Seconds(), "facts/s")
}

// BenchmarkRead reads 20,000 facts.
func BenchmarkRead(b *testing.B) {
	_, l := eventlogtest.StartLog(b)
	const facts = 20_000
	if err := l.Producer("watcher").PublishAll(b.Context(), pods(facts)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, err := range l.Read(b.Context(), 1, 0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*facts)/b.Elapsed().Seconds(), "facts/s")
}
