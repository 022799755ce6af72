package clas

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// held is a fact that the engine keeps.
type held struct {
	subject  string
	sequence uint64
	fact     *ringfencev1.Fact
}

// compareHeld sorts by place in the log. The subject decides between facts that were applied under one number.
func compareHeld(a, b held) int {
	return cmp.Or(cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.subject, b.subject))
}

// provision is the console's versioned side: objects by content, the last chunk of each number, and the version in force.
// A version takes effect at the fact that completes it, be it a chunk or an object.
type provision struct {
	objects map[string]storedObject
	// slots holds the last chunk of each number, of whatever version.
	slots map[uint32]held
	// complete says that the slots hold all chunks of a version that is not in force; missing are the objects, by
	// SHA-256, that it lacks.
	complete bool
	missing  map[string]string
	force    manifest
}

// storedObject is a content-addressed object with its first place in the log.
type storedObject struct {
	held
	content any // *ringfencev1.RuleSet, *ipList or portSet
	href    string
}

// manifest is a version in force.
type manifest struct {
	version  int64
	chunks   []held
	objects  map[string]bool // by SHA-256
	ruleSets map[string]*ringfencev1.RuleSet
	ipLists  map[string]*ipList
	services map[string]portSet
}

// edition tells versions apart, also two of one number: a console that was restored counts on from where its backup was.
type edition struct {
	version int64
	chunks  uint32
	at      time.Time
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func newProvision() *provision {
	return &provision{objects: map[string]storedObject{}, slots: map[uint32]held{}}
}

// putObject takes in a content-addressed object and reports whether it committed a version.
func (p *provision) putObject(s subject, h held) (bool, error) {
	if err := s.is("pce", "object"); err != nil {
		return false, err
	}
	object, sha := h.fact.GetPceObject(), s.rest[0]
	stored, err := parseObject(object)
	if err != nil {
		return false, err
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(object)
	if err != nil {
		return false, fmt.Errorf("%s: encode: %w", stored.href, err)
	}
	if sum := sha256.Sum256(encoded); hex.EncodeToString(sum[:]) != sha {
		return false, fmt.Errorf("%s: sha256: the content has %x, the subject says %s", stored.href, sum, sha)
	}
	if _, repeated := p.objects[sha]; repeated {
		return false, nil
	}
	stored.held = h
	p.objects[sha] = stored
	if p.complete && p.missing[sha] == stored.href {
		delete(p.missing, sha)
	}
	return p.commit(), nil
}

// parseObject checks an object and gives it in the form that rules are resolved from.
func parseObject(m *ringfencev1.PceObject) (storedObject, error) {
	switch o := m.GetObject().(type) {
	case *ringfencev1.PceObject_RuleSet:
		return storedObject{href: o.RuleSet.GetHref(), content: o.RuleSet}, checkRuleSet(o.RuleSet)
	case *ringfencev1.PceObject_IpList:
		list, err := parseIPList(o.IpList)
		return storedObject{href: o.IpList.GetHref(), content: list}, requireHref(err, o.IpList.GetHref(), "ip list")
	case *ringfencev1.PceObject_Service:
		ports, err := parseService(o.Service)
		return storedObject{href: o.Service.GetHref(), content: ports}, requireHref(err, o.Service.GetHref(), "service")
	}
	return storedObject{}, fmt.Errorf("pce object: object: neither a rule set, an IP list nor a service")
}

func requireHref(err error, href, kind string) error {
	if err == nil && href == "" {
		return fmt.Errorf("%s: href: empty", kind)
	}
	return err
}

func parseService(m *ringfencev1.PceService) (portSet, error) {
	var ranges []portRange
	for i, port := range m.GetPorts() {
		r, err := parsePort(port)
		if err != nil {
			return portSet{}, fmt.Errorf("service %s: ports[%d].%w", m.GetHref(), i, err)
		}
		ranges = append(ranges, r)
	}
	return newPortSet(ranges), nil
}

func checkRuleSet(m *ringfencev1.RuleSet) error {
	if m.GetHref() == "" {
		return fmt.Errorf("rule set: href: empty")
	}
	for i, rule := range m.GetRules() {
		if rule.GetHref() == "" {
			return fmt.Errorf("rule set %s: rules[%d].href: empty", m.GetHref(), i)
		}
		for j, service := range rule.GetServices() {
			if port := service.GetPort(); port != nil {
				if _, err := parsePort(port); err != nil {
					return fmt.Errorf("rule set %s: rule %s: services[%d].%w", m.GetHref(), rule.GetHref(), j, err)
				}
			}
		}
	}
	return nil
}

// removeObject drops an object that the version in force does not need.
func (p *provision) removeObject(sha string) {
	if _, known := p.objects[sha]; !known || p.force.objects[sha] {
		return
	}
	delete(p.objects, sha)
	p.recount()
}

// putChunk takes in a part of a version and reports whether it committed the version.
func (p *provision) putChunk(s subject, h held) (bool, error) {
	if err := s.is("pce", "provisioned"); err != nil {
		return false, err
	}
	m := h.fact.GetProvisioned()
	if err := checkChunk(s, m); err != nil {
		return false, err
	}
	p.slots[m.GetChunk()] = h
	p.recount()
	return p.commit(), nil
}

func checkChunk(s subject, m *ringfencev1.Provisioned) error {
	if s.rest[0] != strconv.FormatUint(uint64(m.GetChunk()), 10) {
		return fmt.Errorf("provisioned version %d: chunk: %d, the subject is %s", m.GetVersion(), m.GetChunk(), s.text)
	}
	if m.GetChunk() >= m.GetChunks() {
		return fmt.Errorf("provisioned version %d: chunk: %d of %d", m.GetVersion(), m.GetChunk(), m.GetChunks())
	}
	seen := map[string]bool{}
	for i, entry := range m.GetEntries() {
		switch {
		case entry.GetHref() == "":
			return fmt.Errorf("provisioned version %d: chunk %d: entries[%d].href: empty", m.GetVersion(), m.GetChunk(), i)
		case seen[entry.GetHref()]:
			return fmt.Errorf("provisioned version %d: chunk %d: entries[%d].href: %s is listed twice", m.GetVersion(), m.GetChunk(), i, entry.GetHref())
		case !hexSHA256.MatchString(entry.GetSha256()):
			return fmt.Errorf("provisioned version %d: chunk %d: entries[%d].sha256: %q is not one", m.GetVersion(), m.GetChunk(), i, entry.GetSha256())
		}
		seen[entry.GetHref()] = true
	}
	return nil
}

// removeChunk empties a slot. A version in force keeps its own chunks until the next one.
func (p *provision) removeChunk(s subject) {
	number, err := strconv.ParseUint(s.rest[0], 10, 32)
	if err != nil {
		return
	}
	delete(p.slots, uint32(number))
	p.recount()
}

func editionOf(h held) edition {
	m := h.fact.GetProvisioned()
	return edition{version: m.GetVersion(), chunks: m.GetChunks(), at: m.GetProvisionedAt().AsTime()}
}

// recount finds out whether the slots hold all of a version that is not in force, and which of its objects are missing.
func (p *provision) recount() {
	p.complete, p.missing = false, map[string]string{}
	first, ok := p.slots[0]
	if !ok || p.count(editionOf(first)) != editionOf(first).chunks || p.inForce() {
		return
	}
	p.complete = true
	for number := range editionOf(first).chunks {
		for _, entry := range p.slots[number].fact.GetProvisioned().GetEntries() {
			if stored, ok := p.objects[entry.GetSha256()]; !ok || stored.href != entry.GetHref() {
				p.missing[entry.GetSha256()] = entry.GetHref()
			}
		}
	}
}

// count is how many chunks of an edition are there. Slots beyond its number of chunks hold other editions.
func (p *provision) count(e edition) uint32 {
	n := uint32(0)
	for _, h := range p.slots {
		if editionOf(h) == e {
			n++
		}
	}
	return n
}

// inForce tells whether the slots repeat the version in force.
func (p *provision) inForce() bool {
	for i, h := range p.force.chunks {
		if !proto.Equal(h.fact.GetProvisioned(), p.slots[uint32(i)].fact.GetProvisioned()) {
			return false
		}
	}
	return len(p.force.chunks) > 0
}

// commit puts the version in the slots in force if nothing of it is missing.
func (p *provision) commit() bool {
	if !p.complete || len(p.missing) > 0 {
		return false
	}
	next := manifest{objects: map[string]bool{}, ruleSets: map[string]*ringfencev1.RuleSet{},
		ipLists: map[string]*ipList{}, services: map[string]portSet{}}
	count := editionOf(p.slots[0]).chunks
	for number := range count {
		h := p.slots[number]
		next.version = h.fact.GetProvisioned().GetVersion()
		next.chunks = append(next.chunks, h)
		for _, entry := range h.fact.GetProvisioned().GetEntries() {
			next.take(entry.GetSha256(), p.objects[entry.GetSha256()])
		}
	}
	p.force = next
	maps.DeleteFunc(p.objects, func(sha string, _ storedObject) bool { return !next.objects[sha] })
	p.recount()
	return true
}

func (m *manifest) take(sha string, stored storedObject) {
	m.objects[sha] = true
	switch content := stored.content.(type) {
	case *ringfencev1.RuleSet:
		m.ruleSets[stored.href] = content
	case *ipList:
		m.ipLists[stored.href] = content
	case portSet:
		m.services[stored.href] = content
	}
}

// namedMissing limits how many absent objects a warning names.
const namedMissing = 5

// warnings says why the version that came last is not in force.
func (p *provision) warnings() []string {
	newest := p.newest()
	if newest.fact == nil {
		return nil
	}
	e := editionOf(newest)
	prefix := fmt.Sprintf("provisioned version %d is incomplete, version %d stays in force: ", e.version, p.force.version)
	if !p.complete || editionOf(p.slots[0]) != e {
		return []string{fmt.Sprintf("%s%d of %d chunks are there", prefix, p.count(e), e.chunks)}
	}
	var out []string
	for i, sha := range slices.Sorted(maps.Keys(p.missing)) {
		if i == namedMissing {
			out = append(out, fmt.Sprintf("%s%d more objects are missing", prefix, len(p.missing)-namedMissing))
			break
		}
		out = append(out, fmt.Sprintf("%sobject %s (sha256 %s) is missing", prefix, p.missing[sha], sha))
	}
	return out
}

// newest is the last chunk that came after the version in force and is not of it.
func (p *provision) newest() held {
	var newest, floor held
	for _, h := range p.force.chunks {
		floor = latest(floor, h)
	}
	for _, h := range p.slots {
		if h.sequence > floor.sequence && (floor.fact == nil || editionOf(h) != editionOf(floor)) {
			newest = latest(newest, h)
		}
	}
	return newest
}

func latest(a, b held) held {
	if compareHeld(a, b) > 0 {
		return a
	}
	return b
}

// facts lists everything that brings a new engine to the same state when it is applied in the order of the log.
func (p *provision) facts() []held {
	out := slices.Clone(p.force.chunks)
	for number, h := range p.slots {
		if int(number) < len(p.force.chunks) && h == p.force.chunks[number] {
			continue
		}
		out = append(out, h)
	}
	for _, o := range p.objects {
		out = append(out, o.held)
	}
	return out
}
