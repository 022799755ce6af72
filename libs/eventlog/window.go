package eventlog

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/addresses"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// partBytes is what a part of a window, or of a stored set, holds at most, unless a single workload policy is larger. It
// leaves room for the envelope below the 512 KiB that messages are kept to.
const partBytes = 384 << 10

// maxParts bounds what a reader is willing to put together.
const maxParts = 4096

// splitWindow cuts a window into parts that fit a message each. Sets come before policies in the order of parts.
func splitWindow(w *ringfencev1.Window) []*ringfencev1.Window {
	s := splitter{whole: w}
	s.part()
	for _, d := range w.GetSets() {
		for _, piece := range splitDelta(d) {
			s.room(proto.Size(piece))
			s.current.Sets = append(s.current.Sets, piece)
		}
	}
	for _, p := range w.GetPolicies() {
		s.room(proto.Size(p))
		s.current.Policies = append(s.current.Policies, p)
	}
	for _, id := range w.GetRemovedPolicies() {
		s.room(len(id))
		s.current.RemovedPolicies = append(s.current.RemovedPolicies, id)
	}
	if ns := w.GetNamespaces(); ns != nil {
		s.room(proto.Size(ns))
		s.current.Namespaces = ns
	}
	for _, part := range s.parts {
		part.Parts = uint32(len(s.parts))
	}
	return s.parts
}

type splitter struct {
	whole   *ringfencev1.Window
	parts   []*ringfencev1.Window
	current *ringfencev1.Window
	bytes   int
}

func (s *splitter) part() {
	s.current = &ringfencev1.Window{
		Number: s.whole.GetNumber(), Version: s.whole.GetVersion(), ProvisionedVersion: s.whole.GetProvisionedVersion(), Settled: s.whole.GetSettled(),
		Part: uint32(len(s.parts)),
	}
	s.parts, s.bytes = append(s.parts, s.current), 0
}

// room begins a new part unless n more bytes fit.
func (s *splitter) room(n int) {
	n += 8 // tag and length
	if s.bytes > 0 && s.bytes+n > partBytes {
		s.part()
	}
	s.bytes += n
}

// splitDelta cuts the change of one set into pieces whose order matters.
func splitDelta(d *ringfencev1.AddressSetDelta) []*ringfencev1.AddressSetDelta {
	if proto.Size(d) <= partBytes {
		return []*ringfencev1.AddressSetDelta{d}
	}
	var pieces []*ringfencev1.AddressSetDelta
	if d.GetReplace() != nil {
		for _, set := range splitSet(d.GetReplace()) {
			pieces = append(pieces, &ringfencev1.AddressSetDelta{Id: d.GetId(), Replace: set})
		}
	}
	for _, chunk := range addresses.Split(d.GetAdded(), partBytes) {
		pieces = append(pieces, &ringfencev1.AddressSetDelta{Id: d.GetId(), Added: chunk})
	}
	for _, chunk := range addresses.Split(d.GetRemoved(), partBytes) {
		pieces = append(pieces, &ringfencev1.AddressSetDelta{Id: d.GetId(), Removed: chunk})
	}
	if d.GetDeleted() {
		pieces = append(pieces, &ringfencev1.AddressSetDelta{Id: d.GetId(), Deleted: true})
	}
	return pieces
}

// splitSet cuts a set into sets of the same id which joinSet puts together again.
func splitSet(set *ringfencev1.AddressSet) []*ringfencev1.AddressSet {
	if proto.Size(set) <= partBytes {
		return []*ringfencev1.AddressSet{set}
	}
	first := &ringfencev1.AddressSet{Id: set.GetId(), Description: set.GetDescription()}
	pieces := []*ringfencev1.AddressSet{first}
	for _, chunk := range addresses.Split(set.GetAddresses(), partBytes) {
		pieces = append(pieces, &ringfencev1.AddressSet{Id: set.GetId(), Addresses: chunk})
	}
	for _, chunk := range chunks(set.GetPrefixes()) {
		pieces = append(pieces, &ringfencev1.AddressSet{Id: set.GetId(), Prefixes: chunk})
	}
	for _, chunk := range chunks(set.GetFqdns()) {
		pieces = append(pieces, &ringfencev1.AddressSet{Id: set.GetId(), Fqdns: chunk})
	}
	return pieces
}

// joinSet continues a set with its next piece. It changes neither.
func joinSet(set, next *ringfencev1.AddressSet) *ringfencev1.AddressSet {
	return &ringfencev1.AddressSet{
		Id: set.GetId(), Description: set.GetDescription(),
		Addresses: addresses.Join(set.GetAddresses(), next.GetAddresses()),
		Prefixes:  slices.Concat(set.GetPrefixes(), next.GetPrefixes()),
		Fqdns:     slices.Concat(set.GetFqdns(), next.GetFqdns()),
	}
}

// chunks cuts a list of texts into pieces of at most partBytes each.
func chunks(list []string) [][]string {
	var out [][]string
	start, bytes := 0, 0
	for i, text := range list {
		n := len(text) + 4 // tag and length
		if bytes+n > partBytes && i > start {
			out = append(out, list[start:i])
			start, bytes = i, 0
		}
		bytes += n
	}
	if start < len(list) {
		out = append(out, list[start:])
	}
	return out
}

// assembly puts the parts of a window together. Its zero value is ready.
type assembly struct {
	whole *ringfencev1.EncodedWindow
	next  uint32
}

// add takes a part in and gives the window once it is whole; nil while parts are to come. The part is the assembly's from
// then on. An error says that the part does not follow the one before; what was put together is dropped then.
func (a *assembly) add(part *ringfencev1.EncodedWindow) (*ringfencev1.EncodedWindow, error) {
	if part.GetPart() == 0 {
		a.whole, a.next = part, 1
	} else if err := a.follows(part); err != nil {
		a.whole = nil
		return nil, err
	} else {
		a.merge(part)
		a.next++
	}
	if a.next < part.GetParts() {
		return nil, nil
	}
	whole := a.whole
	a.whole, whole.Part, whole.Parts = nil, 0, 1
	return whole, nil
}

func (a *assembly) follows(part *ringfencev1.EncodedWindow) error {
	if a.whole == nil || part.GetNumber() != a.whole.GetNumber() || part.GetPart() != a.next || part.GetParts() != a.whole.GetParts() {
		return fmt.Errorf("window %d: part %d of %d without the parts before", part.GetNumber(), part.GetPart(), part.GetParts())
	}
	return nil
}

func (a *assembly) merge(part *ringfencev1.EncodedWindow) {
	for _, d := range part.GetSets() {
		if n := len(a.whole.Sets); n > 0 && d.GetReplace() != nil && a.whole.Sets[n-1].GetReplace().GetId() == d.GetId() {
			a.whole.Sets[n-1].Replace = joinSet(a.whole.Sets[n-1].GetReplace(), d.GetReplace())
			continue
		}
		a.whole.Sets = append(a.whole.Sets, d)
	}
	a.whole.Policies = append(a.whole.Policies, part.GetPolicies()...)
	a.whole.RemovedPolicies = append(a.whole.RemovedPolicies, part.GetRemovedPolicies()...)
	if part.GetNamespaces() != nil {
		a.whole.Namespaces = part.GetNamespaces()
	}
}

// decodeWindow decodes a part of a window, or a heartbeat, and checks what every reader relies on. What is in its policies is
// checked when they are decoded.
func decodeWindow(data []byte) (*ringfencev1.EncodedWindow, error) {
	w := &ringfencev1.EncodedWindow{}
	if err := proto.Unmarshal(data, w); err != nil {
		return nil, fmt.Errorf("not a window: %w", err)
	}
	switch {
	case w.GetNumber() == 0:
		return nil, errors.New("not a window: it has no number")
	case w.GetVersion().GetIncarnation() == "":
		return nil, errors.New("not a window: its version has no incarnation")
	case w.GetParts() > maxParts || (w.GetParts() > 0 && w.GetPart() >= w.GetParts()):
		return nil, fmt.Errorf("not a window: part %d of %d", w.GetPart(), w.GetParts())
	}
	for i, p := range w.GetPolicies() {
		if encodedID(p) == "" {
			return nil, fmt.Errorf("not a window: policies[%d] is no workload policy with an id", i)
		}
	}
	for i, d := range w.GetSets() {
		if d.GetId() == "" || (d.GetReplace() != nil && d.GetReplace().GetId() != d.GetId()) {
			return nil, fmt.Errorf("not a window: sets[%d] changes %q and replaces %q", i, d.GetId(), d.GetReplace().GetId())
		}
		for _, list := range []*ringfencev1.Addresses{d.GetReplace().GetAddresses(), d.GetAdded(), d.GetRemoved()} {
			if err := addresses.Check(list); err != nil {
				return nil, fmt.Errorf("not a window: set %s: %w", d.GetId(), err)
			}
		}
	}
	return w, nil
}

// idField is the number of the field id of a workload policy.
const idField = 1

// encodedID gives the id of an encoded workload policy without decoding the rest, empty where there is none to be found.
func encodedID(policy []byte) (id string) {
	for len(policy) > 0 {
		number, kind, n := protowire.ConsumeTag(policy)
		if n < 0 {
			return ""
		}
		policy = policy[n:]
		if number == idField && kind == protowire.BytesType {
			text, n := protowire.ConsumeBytes(policy)
			if n < 0 {
				return ""
			}
			id, policy = string(text), policy[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, policy); n < 0 {
			return ""
		}
		policy = policy[n:]
	}
	return id
}

// decodePlan decodes the plan of a node.
func decodePlan(node string, data []byte) (*ringfencev1.NodePlan, error) {
	plan := &ringfencev1.NodePlan{}
	if err := proto.Unmarshal(data, plan); err != nil {
		return nil, fmt.Errorf("not a plan: %w", err)
	}
	switch {
	case plan.GetNode() != node:
		return nil, fmt.Errorf("not a plan of node %s: it is for %q", node, plan.GetNode())
	case plan.GetVersion().GetIncarnation() == "":
		return nil, errors.New("not a plan: its version has no incarnation")
	}
	for i, pod := range plan.GetPods() {
		if pod.GetUid() == "" || pod.GetPolicy() == "" {
			return nil, fmt.Errorf("not a plan: pods[%d] (%s/%s) lacks uid or policy", i, pod.GetNamespace(), pod.GetName())
		}
	}
	return plan, nil
}
