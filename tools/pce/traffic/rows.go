package traffic

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// Row is what a query gives: the connections of one kind between two ends, in the shape of the public API.
type Row struct {
	Src              RowEnd        `json:"src"`
	Dst              RowEnd        `json:"dst"`
	Service          RowService    `json:"service"`
	Connections      uint64        `json:"num_connections"`
	Decision         string        `json:"policy_decision"`
	DraftDecision    *string       `json:"draft_policy_decision"`
	BoundaryDecision *string       `json:"boundary_decision"`
	Direction        string        `json:"flow_direction"`
	State            string        `json:"state"`
	Transmission     string        `json:"transmission"`
	ClientType       string        `json:"client_type"`
	Network          Network       `json:"network"`
	ICMPType         *int          `json:"icmp_type"`
	ICMPCode         *int          `json:"icmp_code"`
	BytesIn          uint64        `json:"dst_bi"`
	BytesOut         uint64        `json:"dst_bo"`
	Range            pce.TimeRange `json:"timestamp_range"`
	Rule             string        `json:"rule,omitempty"`
	Caps             []string      `json:"caps"`
}

// RowEnd is one end of a row.
type RowEnd struct {
	IP       string    `json:"ip"`
	Workload *Workload `json:"workload,omitempty"`
	IPLists  []IPList  `json:"ip_lists"`
	FQDN     string    `json:"fqdn,omitempty"`
}

// RowService is what a row's connections reached.
type RowService struct {
	Port  *int `json:"port"`
	Proto int  `json:"proto"`
}

// Answer is what was found.
type Answer struct {
	// Matches counts the flows that rows are made of, those beyond the query's limit included.
	Matches int

	sums  []*rowSum
	world World
}

// Len is the number of rows.
func (a Answer) Len() int { return len(a.sums) }

// Rows gives the rows, the newest first. Each is made when it is asked for: all of them together are large.
func (a Answer) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		networks := map[string]Network{}
		for _, sum := range a.sums {
			if !yield(sum.row(a.world, networks)) {
				return
			}
		}
	}
}

// rowKey is what flows of one row have in common.
type rowKey struct {
	cluster                          string
	src, dst                         netip.Addr
	srcWorkload, dstWorkload         *Workload
	srcName, dstName                 string
	port, proto, icmpType, icmpCode  int
	direction, decision, state, rule string
}

type rowSum struct {
	rowKey
	first, last time.Time
	connections uint64
}

// Ask answers a query. An [Invalid] among its errors says what is wrong with it.
func (s *Store) Ask(ctx context.Context, q Query, w World) (Answer, error) {
	p, err := q.prepare(w)
	if err != nil {
		return Answer{}, err
	}
	found, sums := newResolver(w), map[rowKey]*rowSum{}
	matches := 0
	err = s.scan(ctx, p.from, p.to, func(cluster string, f Flow) {
		src, dst := found.party(cluster, f.Summary.Src, f.Src), found.party(cluster, f.Summary.Dst, f.Dst)
		if !p.matches(f, src, dst) {
			return
		}
		matches++
		key := keyOf(cluster, f, src, dst)
		sum := sums[key]
		if sum == nil && len(sums) >= p.max {
			return
		}
		if sum == nil {
			sum = &rowSum{rowKey: key, first: f.First, last: f.Last}
			sums[key] = sum
		}
		sum.add(f)
	})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Matches: matches, sums: ordered(sums), world: w}, nil
}

func orMinusOne(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

func orNil(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

func keyOf(cluster string, f Flow, src, dst party) rowKey {
	s := f.Summary
	return rowKey{
		cluster: cluster, src: f.Src, dst: f.Dst, srcWorkload: src.workload, dstWorkload: dst.workload, srcName: src.fqdn, dstName: dst.fqdn,
		port: orMinusOne(s.Service.Port), proto: s.Service.Proto, icmpType: orMinusOne(s.ICMPType), icmpCode: orMinusOne(s.ICMPCode),
		direction: s.Direction, decision: s.Decision, state: s.State, rule: s.Rule,
	}
}

func (r *rowSum) add(f Flow) {
	r.connections += f.Summary.Connections
	if f.First.Before(r.first) {
		r.first = f.First
	}
	if f.Last.After(r.last) {
		r.last = f.Last
	}
}

// ordered gives sums the newest first, and otherwise in an order that does not change from one query to the next.
func ordered(sums map[rowKey]*rowSum) []*rowSum {
	return slices.SortedFunc(maps.Values(sums), func(a, b *rowSum) int {
		return cmp.Or(b.last.Compare(a.last), a.src.Compare(b.src), a.dst.Compare(b.dst), cmp.Compare(a.port, b.port),
			cmp.Compare(a.proto, b.proto), cmp.Compare(a.direction, b.direction), cmp.Compare(a.decision, b.decision), cmp.Compare(a.state, b.state))
	})
}

// network is that of the pods where one end is a pod.
func (r *rowSum) network() string {
	for _, end := range []*Workload{r.srcWorkload, r.dstWorkload} {
		if end != nil && end.Pod {
			return r.cluster
		}
	}
	return ""
}

func (r *rowSum) row(w World, networks map[string]Network) Row {
	lists, at := w.IPLists(), r.network()
	if _, have := networks[at]; !have {
		networks[at] = w.Network(at)
	}
	return Row{
		Src: rowEnd(party{r.src, r.srcName, r.srcWorkload}, lists), Dst: rowEnd(party{r.dst, r.dstName, r.dstWorkload}, lists),
		Service: RowService{Port: orNil(r.port), Proto: r.proto}, Connections: r.connections, Decision: r.decision, Direction: r.direction,
		State: r.state, Transmission: transmission(r.dst), ClientType: "server", Network: networks[at],
		ICMPType: orNil(r.icmpType), ICMPCode: orNil(r.icmpCode), Rule: r.rule, Caps: []string{},
		Range: pce.TimeRange{First: r.first.UTC().Format(time.RFC3339), Last: r.last.UTC().Format(time.RFC3339)},
	}
}

// rowEnd names the IP lists that hold an address, but for the one that holds all.
func rowEnd(p party, lists []IPList) RowEnd {
	end := RowEnd{IP: p.addr.String(), Workload: p.workload, FQDN: p.fqdn, IPLists: []IPList{}}
	for _, l := range lists {
		if l.Name != pce.AnyIPList && l.holds(p) {
			end.IPLists = append(end.IPLists, l)
		}
	}
	return end
}
