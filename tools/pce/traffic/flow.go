package traffic

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// Invalid says which field of a flow or a query is not acceptable, and why.
type Invalid struct{ Field, Reason string }

func (i *Invalid) Error() string { return i.Field + ": " + i.Reason }

func invalid(field, format string, args ...any) error {
	return &Invalid{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Flow is a summary that was checked.
type Flow struct {
	Summary     pce.FlowSummary
	Src, Dst    netip.Addr
	First, Last time.Time
}

// Decisions and states that flows may have, and their directions.
var (
	Decisions  = []string{"allowed", "potentially_blocked", "blocked", "unknown"}
	states     = []string{"active", "closed", "timed out", "snapshot", "new", "incomplete", "unknown"}
	directions = []string{"inbound", "outbound"}
)

const maxName = 253

// Check holds a summary against what can be. Its error is an [Invalid].
func Check(s pce.FlowSummary) (Flow, error) {
	f := Flow{Summary: s}
	var err error
	if f.Src, err = netip.ParseAddr(s.Src.IP); err != nil {
		return f, invalid("src.ip", "%.50q is not an address", s.Src.IP)
	}
	if f.Dst, err = netip.ParseAddr(s.Dst.IP); err != nil {
		return f, invalid("dst.ip", "%.50q is not an address", s.Dst.IP)
	}
	if f.First, err = time.Parse(time.RFC3339, s.Range.First); err != nil {
		return f, invalid("timestamp_range.first_detected", "%.50q is not a time of RFC 3339", s.Range.First)
	}
	if f.Last, err = time.Parse(time.RFC3339, s.Range.Last); err != nil || f.Last.Before(f.First) {
		return f, invalid("timestamp_range.last_detected", "%.50q is not a time of RFC 3339 from first_detected on", s.Range.Last)
	}
	f.Src, f.Dst = f.Src.Unmap().WithZone(""), f.Dst.Unmap().WithZone("")
	return f, checkRest(s)
}

func checkRest(s pce.FlowSummary) error {
	within := func(n *int, high int) bool { return n == nil || (*n >= 0 && *n <= high) }
	switch {
	case s.Service.Proto < 0 || s.Service.Proto > 255:
		return invalid("service.proto", "%d is not a protocol number", s.Service.Proto)
	case !within(s.Service.Port, 65535):
		return invalid("service.port", "%d is not a port", *s.Service.Port)
	case !within(s.ICMPType, 255) || !within(s.ICMPCode, 255):
		return invalid("icmp_type", "type and code are 0 to 255")
	case !slices.Contains(directions, s.Direction):
		return invalid("flow_direction", "%.50q is not one of %v", s.Direction, directions)
	case !slices.Contains(Decisions, s.Decision):
		return invalid("policy_decision", "%.50q is not one of %v", s.Decision, Decisions)
	case !slices.Contains(states, s.State):
		return invalid("state", "%.50q is not one of %v", s.State, states)
	case len(s.Src.FQDN) > maxName || len(s.Dst.FQDN) > maxName:
		return invalid("fqdn", "is longer than %d characters", maxName)
	case len(s.Rule) > maxName:
		return invalid("rule", "is longer than %d characters", maxName)
	}
	return nil
}
