package traffic

import (
	"fmt"
	"testing"

	"github.com/ringfence/ringfence/libs/pce"
)

// filled is a store of so many flows between a thousand pods and their services, in windows of ten minutes.
func filled(b *testing.B, flows int) (*Store, *shelf) {
	ring := newShelf(1 << 30)
	s := opened(b, ring)
	var batch []Flow
	for i := range flows {
		batch = append(batch, flow(b, i/20_000*10, func(s *pce.FlowSummary) {
			port := 1 + i*31%40
			s.Src.IP, s.Dst.IP = fmt.Sprintf("10.42.%d.%d", i*7%10, i*13%250), fmt.Sprintf("10.43.%d.%d", i*3%4, i*17%250)
			s.Src.Workload, s.Dst.Workload = &pce.Ref{Href: fmt.Sprintf("/orgs/1/kubernetes_workloads/6f6dd4a1-8d5c-4b4e-9a7f-%012d", i*13%250)},
				&pce.Ref{Href: fmt.Sprintf("/orgs/1/kubernetes_workloads/0d1b1c52-33a7-4f0a-8f5e-%012d", i*17%250)}
			s.Service.Port, s.Connections = &port, uint64(i%97+1)
		}))
		if len(batch) == pce.MaxBulk {
			if _, err := s.Add(b.Context(), "a", fmt.Sprint(i), batch); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
	return s, ring
}

// BenchmarkAsk reads 200,000 flows for the few that one address received.
func BenchmarkAsk(b *testing.B) {
	const flows = 200_000
	s, ring := filled(b, flows)
	size := 0
	for _, r := range ring.records {
		size += len(r)
	}
	q := Query{}
	if err := q.Destinations.parse("10.43.1.17"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Ask(b.Context(), q, &stage{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(flows*b.N)/b.Elapsed().Seconds(), "flows/s")
	b.ReportMetric(float64(size)/flows, "B/flow")
}

func (e *Ends) parse(address string) error {
	var end End
	err := end.parseAddress(address)
	e.Include = [][]End{{end}}
	return err
}
