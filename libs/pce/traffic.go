package pce

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// TrafficQuery asks for flows. Absent parts exclude nothing.
type TrafficQuery struct {
	Name string `json:"query_name"`
	// Start and End are RFC 3339, empty for no bound.
	Start        string          `json:"start_date"`
	End          string          `json:"end_date"`
	Sources      TrafficEnds     `json:"sources"`
	Destinations TrafficEnds     `json:"destinations"`
	Services     TrafficServices `json:"services"`
	Decisions    []string        `json:"policy_decisions"`
	Max          int             `json:"max_results,omitempty"`
	// Op joins sources and destinations: "and", or "or" for flows of which one end is enough.
	Op string `json:"sources_destinations_query_op"`
	// NoWorkloads keeps IP lists from standing for the addresses of workloads; true where absent.
	NoWorkloads *bool `json:"exclude_workloads_from_ip_list_query,omitempty"`
}

// TrafficEnds chooses flows by one of their ends: by any group of Include, all of whose members hold, unless any of Exclude does.
type TrafficEnds struct {
	Include [][]TrafficEnd `json:"include"`
	Exclude []TrafficEnd   `json:"exclude"`
}

// TrafficEnd is one condition on an end. Exactly one field is set.
type TrafficEnd struct {
	Label      *Ref            `json:"label,omitempty"`
	LabelGroup *Ref            `json:"label_group,omitempty"`
	Workload   *Ref            `json:"workload,omitempty"`
	IPList     *Ref            `json:"ip_list,omitempty"`
	Address    *TrafficAddress `json:"ip_address,omitempty"`
	// Transmission is unicast, multicast or broadcast.
	Transmission string `json:"transmission,omitempty"`
	// Actors is "ams" for all managed workloads.
	Actors string `json:"actors,omitempty"`
}

// TrafficAddress is an address or a CIDR.
type TrafficAddress struct {
	Value string `json:"value"`
}

// TrafficServices chooses flows by what they reached.
type TrafficServices struct {
	Include []ServicePort `json:"include"`
	Exclude []ServicePort `json:"exclude"`
}

// FlowRow sums the connections of one kind between two ends.
type FlowRow struct {
	Src         FlowRowEnd  `json:"src"`
	Dst         FlowRowEnd  `json:"dst"`
	Service     FlowService `json:"service"`
	Direction   string      `json:"flow_direction"`
	Decision    string      `json:"policy_decision"`
	State       string      `json:"state"`
	Connections uint64      `json:"num_connections"`
	Range       TimeRange   `json:"timestamp_range"`
}

// FlowRowEnd is one end of a row, with what is known of it at the time of the query.
type FlowRowEnd struct {
	IP       string       `json:"ip"`
	Workload *RowWorkload `json:"workload"`
	IPLists  []IPList     `json:"ip_lists"`
	FQDN     string       `json:"fqdn"`
}

// RowWorkload is a workload of any kind as a row shows it.
type RowWorkload struct {
	Href            string  `json:"href"`
	Name            string  `json:"name"`
	Hostname        string  `json:"hostname"`
	Managed         bool    `json:"managed"`
	EnforcementMode string  `json:"enforcement_mode"`
	Labels          []Label `json:"labels"`
}

// trafficStatus is the state of an asynchronous query.
type trafficStatus struct {
	Href   string `json:"href"`
	Status string `json:"status"`
	Result string `json:"result"`
}

// Traffic asks for flows and waits until the console has found them, at most as long as ctx allows.
func (c *Client) Traffic(ctx context.Context, q TrafficQuery) ([]FlowRow, error) {
	at := c.Org() + "/traffic_flows/async_queries"
	var s trafficStatus
	if err := c.call(ctx, http.MethodPost, at, q.filled(), &s); err != nil {
		return nil, err
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		switch s.Status {
		case "completed":
			var rows []FlowRow
			return rows, c.call(ctx, http.MethodGet, s.Result, nil, &rows)
		case "failed", "cancelled", "killed":
			return nil, fmt.Errorf("traffic query %s: the console says %s", s.Href, s.Status)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("traffic query %s is %s: %w", s.Href, s.Status, ctx.Err())
		case <-time.After(wait):
		}
		if err := c.call(ctx, http.MethodGet, s.Href, nil, &s); err != nil {
			return nil, err
		}
	}
}

// filled gives the query with empty lists in place of none: consoles want every part.
func (q TrafficQuery) filled() TrafficQuery {
	for _, e := range []*TrafficEnds{&q.Sources, &q.Destinations} {
		if e.Include == nil {
			e.Include = [][]TrafficEnd{{}}
		}
		if e.Exclude == nil {
			e.Exclude = []TrafficEnd{}
		}
	}
	if q.Services.Include == nil {
		q.Services.Include = []ServicePort{}
	}
	if q.Services.Exclude == nil {
		q.Services.Exclude = []ServicePort{}
	}
	if q.Decisions == nil {
		q.Decisions = []string{}
	}
	if q.Op == "" {
		q.Op = "and"
	}
	return q
}

// Event is something that happened, on the console or in a cluster.
type Event struct {
	Href      string `json:"href"`
	Type      string `json:"event_type"`
	Timestamp string `json:"timestamp"`
	Status    string `json:"status"`
	Severity  string `json:"severity"`
	// CreatedBy has one key: user, container_cluster, agent or system.
	CreatedBy       map[string]json.RawMessage `json:"created_by"`
	Action          json.RawMessage            `json:"action"`
	ResourceChanges []json.RawMessage          `json:"resource_changes"`
	Notifications   []json.RawMessage          `json:"notifications"`
}

// Events lists what the console remembers, the newest first. Query may hold event_type, severity, status, timestamp[gte] and
// timestamp[lte].
func (c *Client) Events(ctx context.Context, query url.Values) ([]Event, error) {
	return list[Event](ctx, c, c.Org()+"/events?"+query.Encode())
}
