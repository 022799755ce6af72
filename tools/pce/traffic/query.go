package traffic

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// MaxRows bounds what one query gives.
const MaxRows = 200_000

// Query is a question in the language of the public API. Absent parts exclude nothing.
type Query struct {
	Name         string   `json:"query_name"`
	Start        string   `json:"start_date"`
	End          string   `json:"end_date"`
	Sources      Ends     `json:"sources"`
	Destinations Ends     `json:"destinations"`
	Services     Services `json:"services"`
	Decisions    []string `json:"policy_decisions"`
	Max          *int     `json:"max_results"`
	// Op joins sources and destinations: "and", or "or" for flows of which one end is enough.
	Op string `json:"sources_destinations_query_op"`
	// NoWorkloads keeps IP lists from standing for the addresses of workloads; true where absent.
	NoWorkloads *bool `json:"exclude_workloads_from_ip_list_query"`
}

// Ends chooses flows by one of their ends: by any group of Include, all of whose members hold, unless any of Exclude does.
type Ends struct {
	Include [][]End `json:"include"`
	Exclude []End   `json:"exclude"`
}

// End is one condition on an end. Exactly one field is set.
type End struct {
	Label      *pce.Ref
	LabelGroup *pce.Ref
	Workload   *pce.Ref
	IPList     *pce.Ref
	// Address is one, or a CIDR.
	Address      netip.Prefix
	Transmission string
	// Managed stands for all managed workloads.
	Managed bool
}

var transmissions = []string{"unicast", "multicast", "broadcast"}

// UnmarshalJSON refuses what it has no field for: a condition that is left out would choose too much.
func (e *End) UnmarshalJSON(data []byte) error {
	var raw struct {
		Label      *pce.Ref `json:"label"`
		LabelGroup *pce.Ref `json:"label_group"`
		Workload   *pce.Ref `json:"workload"`
		IPList     *pce.Ref `json:"ip_list"`
		Address    *struct {
			Value string `json:"value"`
		} `json:"ip_address"`
		Transmission *string `json:"transmission"`
		Actors       *string `json:"actors"`
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil || len(keys) != 1 {
		return invalid("include", "want exactly one condition in each object")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&raw); err != nil {
		return invalid("include", "%.200s is not a condition of this console", data)
	}
	*e = End{Label: raw.Label, LabelGroup: raw.LabelGroup, Workload: raw.Workload, IPList: raw.IPList}
	switch {
	case raw.Address != nil:
		return e.parseAddress(raw.Address.Value)
	case raw.Transmission != nil:
		if e.Transmission = *raw.Transmission; !slices.Contains(transmissions, e.Transmission) {
			return invalid("transmission", "%.50q is not one of %v", e.Transmission, transmissions)
		}
	case raw.Actors != nil:
		if e.Managed = *raw.Actors == pce.AllManagedWorkloads; !e.Managed {
			return invalid("actors", `%.50q is not "ams"`, *raw.Actors)
		}
	case *e == End{}:
		return invalid("include", "a condition is null")
	}
	return nil
}

func (e *End) parseAddress(text string) error {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		e.Address = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	var err error
	if e.Address, err = netip.ParsePrefix(text); err != nil {
		return invalid("ip_address", "%.50q is neither an address nor a CIDR", text)
	}
	return nil
}

// Services chooses flows by what they reached.
type Services struct {
	Include []Service `json:"include"`
	Exclude []Service `json:"exclude"`
}

// Service is a condition; absent fields hold for everything.
type Service struct {
	Port   *int `json:"port"`
	ToPort *int `json:"to_port"`
	Proto  *int `json:"proto"`
	// Flows of this console know no process: a condition on one holds for none.
	Process string `json:"process_name"`
	Windows string `json:"windows_service_name"`
}

func (s Service) check() error {
	switch {
	case s.Proto != nil && (*s.Proto < 0 || *s.Proto > 255):
		return invalid("services.proto", "%d is not a protocol number", *s.Proto)
	case s.Port != nil && (*s.Port < 0 || *s.Port > 65535):
		return invalid("services.port", "%d is not a port", *s.Port)
	case s.ToPort != nil && (s.Port == nil || *s.ToPort < *s.Port || *s.ToPort > 65535):
		return invalid("services.to_port", "%d is not a port above port", *s.ToPort)
	}
	return nil
}

func (s Service) holds(f pce.FlowService) bool {
	if s.Process != "" || s.Windows != "" || (s.Proto != nil && *s.Proto != f.Proto) {
		return false
	}
	if s.Port == nil {
		return true
	}
	high := *s.Port
	if s.ToPort != nil {
		high = *s.ToPort
	}
	return f.Port != nil && *f.Port >= *s.Port && *f.Port <= high
}

// plan is a query that was checked and whose references were resolved.
type plan struct {
	from, to  time.Time
	src, dst  ends
	services  Services
	decisions []string
	either    bool
	max       int
}

// Check tells whether the query can be answered. Its error is an [Invalid].
func (q Query) Check(w World) error {
	_, err := q.prepare(w)
	return err
}

// prepare checks a query. Its error is an [Invalid].
func (q Query) prepare(w World) (*plan, error) {
	p := &plan{services: q.Services, decisions: q.Decisions, either: q.Op == "or", max: MaxRows}
	if q.Op != "" && q.Op != "and" && q.Op != "or" {
		return nil, invalid("sources_destinations_query_op", `%.50q is neither "and" nor "or"`, q.Op)
	}
	if q.Max != nil {
		if p.max = *q.Max; p.max < 0 || p.max > MaxRows {
			return nil, invalid("max_results", "%d is not a number from 0 to %d", p.max, MaxRows)
		}
	}
	for _, d := range q.Decisions {
		if !slices.Contains(Decisions, d) {
			return nil, invalid("policy_decisions", "%.50q is not one of %v", d, Decisions)
		}
	}
	for _, s := range slices.Concat(q.Services.Include, q.Services.Exclude) {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return p, q.resolve(p, w)
}

func (q Query) resolve(p *plan, w World) error {
	var err error
	if p.from, err = parseDate("start_date", q.Start); err != nil {
		return err
	}
	if p.to, err = parseDate("end_date", q.End); err != nil {
		return err
	}
	if !p.to.IsZero() && p.to.Before(p.from) {
		return invalid("end_date", "%s is before start_date", q.End)
	}
	noWorkloads := q.NoWorkloads == nil || *q.NoWorkloads
	if p.src, err = q.Sources.resolve("sources", w, noWorkloads); err != nil {
		return err
	}
	p.dst, err = q.Destinations.resolve("destinations", w, noWorkloads)
	return err
}

// parseDate reads a time or a day, which stands for its beginning.
func parseDate(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, invalid(field, "%.50q is neither a time of RFC 3339 nor a day", text)
}

func (p *plan) matches(f Flow, src, dst party) bool {
	if len(p.decisions) > 0 && !slices.Contains(p.decisions, f.Summary.Decision) {
		return false
	}
	reaches := func(s Service) bool { return s.holds(f.Summary.Service) }
	if len(p.services.Include) > 0 && !slices.ContainsFunc(p.services.Include, reaches) {
		return false
	}
	if slices.ContainsFunc(p.services.Exclude, reaches) || p.src.excludes(src) || p.dst.excludes(dst) {
		return false
	}
	if p.either {
		return p.src.includes(src) || p.dst.includes(dst)
	}
	return p.src.includes(src) && p.dst.includes(dst)
}

// condition holds for an end or does not.
type condition func(party) bool

// ends are Ends whose references were resolved.
type ends struct {
	groups  [][]condition
	without []condition
}

func (e ends) includes(p party) bool {
	holds := func(c condition) bool { return c(p) }
	for _, group := range e.groups {
		if !slices.ContainsFunc(group, func(c condition) bool { return !holds(c) }) {
			return true
		}
	}
	return len(e.groups) == 0
}

func (e ends) excludes(p party) bool {
	return slices.ContainsFunc(e.without, func(c condition) bool { return c(p) })
}

func (e Ends) resolve(field string, w World, noWorkloads bool) (ends, error) {
	var out ends
	for _, group := range e.Include {
		conditions, err := resolveAll(field+".include", group, w, noWorkloads)
		if err != nil {
			return out, err
		}
		out.groups = append(out.groups, conditions)
	}
	var err error
	out.without, err = resolveAll(field+".exclude", e.Exclude, w, noWorkloads)
	return out, err
}

func resolveAll(field string, all []End, w World, noWorkloads bool) ([]condition, error) {
	var conditions []condition
	for _, e := range all {
		c, err := e.resolve(field, w, noWorkloads)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

func (e End) resolve(field string, w World, noWorkloads bool) (condition, error) {
	switch {
	case e.Label != nil:
		return hasLabel([]string{e.Label.Href}), nil
	case e.LabelGroup != nil:
		members, err := w.Members(e.LabelGroup.Href)
		if err != nil {
			return nil, invalid(field+".label_group", "%v", err)
		}
		return hasLabel(members), nil
	case e.Workload != nil:
		return func(p party) bool { return p.workload != nil && p.workload.Href == e.Workload.Href }, nil
	case e.IPList != nil:
		return inList(field, e.IPList.Href, w, noWorkloads)
	case e.Address.IsValid():
		return func(p party) bool { return e.Address.Contains(p.addr) }, nil
	case e.Transmission != "":
		return func(p party) bool { return transmission(p.addr) == e.Transmission }, nil
	default:
		return func(p party) bool { return p.workload != nil && p.workload.Managed }, nil
	}
}

func hasLabel(hrefs []string) condition {
	return func(p party) bool {
		return p.workload != nil && slices.ContainsFunc(p.workload.Labels, func(l pce.Label) bool { return slices.Contains(hrefs, l.Href) })
	}
}

func inList(field, href string, w World, noWorkloads bool) (condition, error) {
	for _, list := range w.IPLists() {
		if pce.ID(list.Href) == pce.ID(href) {
			return func(p party) bool { return (p.workload == nil || !noWorkloads) && list.holds(p) }, nil
		}
	}
	return nil, invalid(field+".ip_list", "%.100q is not an IP list of the active policy", href)
}
