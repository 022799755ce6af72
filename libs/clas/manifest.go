package clas

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// digest is a SHA-256.
type digest [sha256.Size]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// parseDigest reads lower-case hexadecimal.
func parseDigest(text string) (d digest, ok bool) {
	if len(text) != 2*len(d) {
		return d, false
	}
	for i := range d {
		hi, lo := digit(text[2*i]), digit(text[2*i+1])
		if hi > 15 || lo > 15 {
			return d, false
		}
		d[i] = hi<<4 | lo
	}
	return d, true
}

// storedObject is a content-addressed object with its first place in the log. Rule sets are kept encoded, for they are many,
// and are read again when they must be resolved anew.
type storedObject struct {
	sha      digest
	sequence uint64
	href     string
	encoded  []byte
	// content is what rules are resolved from: *ipList, portSet, *ringfencev1.LabelGroup, *ringfencev1.VirtualService; for rule sets and
	// boundaries it is nil.
	content any
	// rules are what a rule set or boundary in force comes to.
	rules *ruleSet
	// listed says that the version in force lists it.
	listed bool
	// fresh is the message of a rule set or boundary until it was resolved once.
	fresh *ringfencev1.PceObject
}

// isRuleSet tells whether the object holds rules: a rule set or a boundary.
func (o *storedObject) isRuleSet() bool { return o.content == nil }

// message decodes the object.
func (o *storedObject) message() *ringfencev1.PceObject {
	if m := o.fresh; m != nil {
		o.fresh = nil
		return m
	}
	m := &ringfencev1.PceObject{}
	if err := proto.Unmarshal(o.encoded, m); err != nil {
		panic(fmt.Sprintf("object %s, which was encoded here: %v", o.href, err)) // only broken memory gets here
	}
	return m
}

// provision is the console's versioned side: objects by content, the last chunk of each number, and the version in force.
// A version takes effect at the fact that completes it, be it a chunk or an object.
type provision struct {
	objects map[digest]*storedObject
	// slots holds the last chunk of each number, of whatever version.
	slots map[uint32]*chunk
	// complete says that the slots hold all chunks of a version that is not in force; missing are the objects that it lacks.
	complete bool
	missing  map[digest]string
	force    manifest
}

// chunk is a part of a version.
type chunk struct {
	sequence uint64
	edition  edition
	number   uint32
	// entries are what the version lists, objects in their place once it is in force.
	entries []entry
	objects []*storedObject
	unknown []byte
	// emptied is the place of the tombstone that emptied the slot while the chunk was in force, 0 for none.
	emptied uint64
}

// listed gives what the chunk lists.
func (c *chunk) listed() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for _, x := range c.entries {
			if !yield(x) {
				return
			}
		}
		for _, o := range c.objects {
			if !yield(entry{o.href, o.sha}) {
				return
			}
		}
	}
}

// bound gives the chunk with objects in the place of its entries, which take more room. The chunk itself stays as it is, for a
// snapshot may read it.
func (c *chunk) bound(objects map[digest]*storedObject) *chunk {
	b := *c
	b.entries, b.objects = nil, make([]*storedObject, 0, len(c.entries)+len(c.objects))
	for x := range c.listed() {
		b.objects = append(b.objects, objects[x.sha]) // one that was bound before may be another by now
	}
	return &b
}

type entry struct {
	href string
	sha  digest
}

// edition tells versions apart, also two of one number: a console that was restored counts on from where its backup was.
type edition struct {
	version int64
	chunks  uint32
	seconds int64
	nanos   int32
	timed   bool
}

// manifest is a version in force.
type manifest struct {
	version int64
	chunks  []*chunk
	byHref  map[string]*storedObject
	// virtual are its virtual services, sorted by href.
	virtual []*ringfencev1.VirtualService
}

func newProvision() *provision {
	return &provision{objects: map[digest]*storedObject{}, slots: map[uint32]*chunk{}}
}

// putObject takes in a content-addressed object and reports whether it completed a version.
func (p *provision) putObject(s subject, sequence uint64, m *ringfencev1.PceObject) (bool, error) {
	if err := s.is("pce", "object"); err != nil {
		return false, err
	}
	o, err := parseObject(m)
	if err != nil {
		return false, err
	}
	encoded, err := encode(m)
	if err != nil {
		return false, fmt.Errorf("%s: %w", o.href, err)
	}
	o.sha = sha256.Sum256(encoded)
	if claimed, ok := parseDigest(s.id()); !ok || claimed != o.sha {
		return false, fmt.Errorf("%s: sha256: the content has %s, the subject says %s", o.href, o.sha, s.id())
	}
	if _, repeated := p.objects[o.sha]; repeated {
		return false, nil
	}
	o.sequence, o.encoded = sequence, encoded
	p.objects[o.sha] = o
	if p.complete && p.missing[o.sha] == o.href {
		delete(p.missing, o.sha)
	}
	return p.ready(), nil
}

// parseObject checks an object and gives it in the form that rules are resolved from.
func parseObject(m *ringfencev1.PceObject) (*storedObject, error) {
	switch o := m.GetObject().(type) {
	case *ringfencev1.PceObject_RuleSet:
		return &storedObject{href: o.RuleSet.GetHref(), fresh: m}, checkRuleSet(o.RuleSet)
	case *ringfencev1.PceObject_EnforcementBoundary:
		b := o.EnforcementBoundary
		return &storedObject{href: b.GetHref(), fresh: m}, cmp.Or(requireHref(b.GetHref(), "enforcement boundary"),
			checkServices("enforcement boundary "+b.GetHref(), b.GetServices()))
	case *ringfencev1.PceObject_IpList:
		list, err := parseIPList(o.IpList)
		return &storedObject{href: o.IpList.GetHref(), content: list}, cmp.Or(err, requireHref(o.IpList.GetHref(), "ip list"))
	case *ringfencev1.PceObject_Service:
		ports, err := parseService(o.Service)
		return &storedObject{href: o.Service.GetHref(), content: ports}, cmp.Or(err, requireHref(o.Service.GetHref(), "service"))
	case *ringfencev1.PceObject_LabelGroup:
		return &storedObject{href: o.LabelGroup.GetHref(), content: o.LabelGroup}, checkGroup(o.LabelGroup)
	case *ringfencev1.PceObject_VirtualService:
		return &storedObject{href: o.VirtualService.GetHref(), content: o.VirtualService}, checkVirtualService(o.VirtualService)
	}
	return nil, fmt.Errorf("pce object: object: none of the kinds that this version knows")
}

func requireHref(href, kind string) error {
	if href == "" {
		return fmt.Errorf("%s: href: empty", kind)
	}
	return nil
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
	if err := requireHref(m.GetHref(), "rule set"); err != nil {
		return err
	}
	for i, rule := range m.GetRules() {
		if err := checkRule(m, fmt.Sprintf("rules[%d]", i), rule); err != nil {
			return err
		}
	}
	for i, rule := range m.GetDenyRules() {
		if err := checkRule(m, fmt.Sprintf("deny_rules[%d].rule", i), rule.GetRule()); err != nil {
			return err
		}
	}
	return nil
}

func checkRule(set *ringfencev1.RuleSet, field string, rule *ringfencev1.Rule) error {
	if rule.GetHref() == "" {
		return fmt.Errorf("rule set %s: %s.href: empty", set.GetHref(), field)
	}
	return checkServices(fmt.Sprintf("rule set %s: rule %s", set.GetHref(), rule.GetHref()), rule.GetServices())
}

func checkServices(object string, services []*ringfencev1.IngressService) error {
	for i, service := range services {
		if port := service.GetPort(); port != nil {
			if _, err := parsePort(port); err != nil {
				return fmt.Errorf("%s: services[%d].%w", object, i, err)
			}
		}
	}
	return nil
}

func checkGroup(m *ringfencev1.LabelGroup) error {
	if err := requireHref(m.GetHref(), "label group"); err != nil {
		return err
	}
	if m.GetKey() == "" {
		return fmt.Errorf("label group %s: key: empty", m.GetHref())
	}
	return nil
}

func checkVirtualService(m *ringfencev1.VirtualService) error {
	if err := requireHref(m.GetHref(), "virtual service"); err != nil {
		return err
	}
	object := "virtual service " + m.GetHref()
	for i, a := range m.GetAddresses() {
		if _, err := parseAddr(a.GetAddress()); err != nil {
			return fmt.Errorf("%s: addresses[%d].address: %w", object, i, err)
		}
		if a.GetPort() > maxPort {
			return fmt.Errorf("%s: addresses[%d].port: %d is above 65535", object, i, a.GetPort())
		}
	}
	return checkServices(object, m.GetServices())
}

// removeObject drops an object that the version in force does not need.
func (p *provision) removeObject(s subject) {
	sha, ok := parseDigest(s.id())
	if !ok || p.objects[sha] == nil || p.objects[sha].listed {
		return
	}
	delete(p.objects, sha)
	p.recount()
}

// putChunk takes in a part of a version and reports whether it completed the version.
func (p *provision) putChunk(s subject, sequence uint64, m *ringfencev1.Provisioned) (bool, error) {
	if err := s.is("pce", "provisioned"); err != nil {
		return false, err
	}
	c, err := parseChunk(s, sequence, m)
	if err != nil {
		return false, err
	}
	p.slots[c.number] = c
	p.empty(c.number, 0)
	p.recount()
	return p.ready(), nil
}

func parseChunk(s subject, sequence uint64, m *ringfencev1.Provisioned) (*chunk, error) {
	object := fmt.Sprintf("provisioned version %d", m.GetVersion())
	if s.id() != strconv.FormatUint(uint64(m.GetChunk()), 10) {
		return nil, fmt.Errorf("%s: chunk: %d, the subject is %s", object, m.GetChunk(), s.text)
	}
	if m.GetChunk() >= m.GetChunks() {
		return nil, fmt.Errorf("%s: chunk: %d of %d", object, m.GetChunk(), m.GetChunks())
	}
	c := &chunk{sequence: sequence, edition: editionOf(m), number: m.GetChunk(), entries: make([]entry, 0, len(m.GetEntries())),
		unknown: m.ProtoReflect().GetUnknown()}
	seen := make(map[string]bool, len(m.GetEntries()))
	for i, x := range m.GetEntries() {
		sha, ok := parseDigest(x.GetSha256())
		switch {
		case x.GetHref() == "":
			return nil, fmt.Errorf("%s: chunk %d: entries[%d].href: empty", object, c.number, i)
		case seen[x.GetHref()]:
			return nil, fmt.Errorf("%s: chunk %d: entries[%d].href: %s is listed twice", object, c.number, i, x.GetHref())
		case !ok:
			return nil, fmt.Errorf("%s: chunk %d: entries[%d].sha256: %q is not one", object, c.number, i, x.GetSha256())
		}
		seen[x.GetHref()] = true
		c.entries = append(c.entries, entry{x.GetHref(), sha})
	}
	return c, nil
}

func editionOf(m *ringfencev1.Provisioned) edition {
	at := m.GetProvisionedAt()
	return edition{m.GetVersion(), m.GetChunks(), at.GetSeconds(), at.GetNanos(), at != nil}
}

// message gives the chunk's fact again.
func (c *chunk) message() *ringfencev1.Provisioned {
	m := &ringfencev1.Provisioned{Version: c.edition.version, Chunk: c.number, Chunks: c.edition.chunks}
	if c.edition.timed {
		m.ProvisionedAt = timestamppb.New(time.Unix(c.edition.seconds, int64(c.edition.nanos)))
		m.ProvisionedAt.Seconds, m.ProvisionedAt.Nanos = c.edition.seconds, c.edition.nanos
	}
	for x := range c.listed() {
		m.Entries = append(m.Entries, &ringfencev1.ManifestEntry{Href: x.href, Sha256: x.sha.String()})
	}
	m.ProtoReflect().SetUnknown(slices.Clone(c.unknown))
	return m
}

func (c *chunk) equal(d *chunk) bool {
	return d != nil && c.edition == d.edition && c.number == d.number && slices.Equal(slices.Collect(c.listed()), slices.Collect(d.listed()))
}

// empty notes the place of the tombstone that emptied a slot of the version in force; 0 says that it holds a chunk.
func (p *provision) empty(number uint32, sequence uint64) {
	if int(number) < len(p.force.chunks) {
		p.force.chunks[number].emptied = sequence
	}
}

// removeChunk empties a slot. A version in force keeps its own chunks until the next one.
func (p *provision) removeChunk(s subject, sequence uint64) {
	number, err := strconv.ParseUint(s.id(), 10, 32)
	if err != nil {
		return
	}
	if p.slots[uint32(number)] != nil {
		delete(p.slots, uint32(number))
		p.empty(uint32(number), sequence)
	}
	p.recount()
}

// recount finds out whether the slots hold all of a version that is not in force, and which of its objects are missing.
func (p *provision) recount() {
	p.complete, p.missing = false, nil
	first := p.slots[0]
	if first == nil || p.count(first.edition) != first.edition.chunks || p.inForce() {
		return
	}
	p.complete, p.missing = true, map[digest]string{}
	for number := range first.edition.chunks {
		for x := range p.slots[number].listed() {
			if o := p.objects[x.sha]; o == nil || o.href != x.href {
				p.missing[x.sha] = x.href
			}
		}
	}
}

// count is how many chunks of an edition are there. Slots beyond its number of chunks hold other editions.
func (p *provision) count(e edition) uint32 {
	n := uint32(0)
	for _, c := range p.slots {
		if c.edition == e {
			n++
		}
	}
	return n
}

// inForce tells whether the slots repeat the version in force.
func (p *provision) inForce() bool {
	for _, c := range p.force.chunks {
		if !c.equal(p.slots[c.number]) {
			return false
		}
	}
	return len(p.force.chunks) > 0
}

// ruleSets gives the rule sets and boundaries in force, in no order.
func (p *provision) ruleSets() iter.Seq[*ruleSet] {
	return func(yield func(*ruleSet) bool) {
		for _, o := range p.force.byHref {
			if o.rules != nil && !yield(o.rules) {
				return
			}
		}
	}
}

// ready tells whether the version in the slots can be put in force.
func (p *provision) ready() bool { return p.complete && len(p.missing) == 0 }

// commit puts the version in the slots in force, and gives the one before.
func (p *provision) commit() (before manifest) {
	count := p.slots[0].edition.chunks
	next := manifest{byHref: make(map[string]*storedObject, len(p.objects))}
	for _, o := range p.force.byHref {
		o.listed = false
	}
	for number := range count {
		c := p.slots[number].bound(p.objects)
		p.slots[number] = c
		next.version = c.edition.version
		next.chunks = append(next.chunks, c)
		for _, o := range c.objects {
			next.byHref[o.href], o.listed = o, true
		}
	}
	for _, o := range next.byHref {
		if v, ok := o.content.(*ringfencev1.VirtualService); ok {
			next.virtual = append(next.virtual, v)
		}
	}
	slices.SortFunc(next.virtual, func(a, b *ringfencev1.VirtualService) int { return cmp.Compare(a.GetHref(), b.GetHref()) })
	before, p.force = p.force, next
	maps.DeleteFunc(p.objects, func(_ digest, o *storedObject) bool { return !o.listed })
	p.recount()
	return before
}

// namedMissing limits how many absent objects a warning names.
const namedMissing = 5

// warnings says why the version that came last is not in force.
func (p *provision) warnings() []string {
	newest := p.newest()
	if newest == nil {
		return nil
	}
	e := newest.edition
	prefix := fmt.Sprintf("provisioned version %d is incomplete, version %d stays in force: ", e.version, p.force.version)
	if !p.complete || p.slots[0].edition != e {
		return []string{fmt.Sprintf("%s%d of %d chunks are there", prefix, p.count(e), e.chunks)}
	}
	var out []string
	for i, sha := range slices.SortedFunc(maps.Keys(p.missing), func(a, b digest) int { return slices.Compare(a[:], b[:]) }) {
		if i == namedMissing {
			out = append(out, fmt.Sprintf("%s%d more objects are missing", prefix, len(p.missing)-namedMissing))
			break
		}
		out = append(out, fmt.Sprintf("%sobject %s (sha256 %s) is missing", prefix, p.missing[sha], sha))
	}
	return out
}

// newest is the last chunk that came after the version in force and is not of it, nil for none.
func (p *provision) newest() *chunk {
	var newest, floor *chunk
	for _, c := range p.force.chunks {
		floor = latest(floor, c)
	}
	for _, c := range p.slots {
		if floor == nil || c.sequence > floor.sequence && c.edition != floor.edition {
			newest = latest(newest, c)
		}
	}
	return newest
}

func latest(a, b *chunk) *chunk {
	if a == nil || b.sequence > a.sequence || b.sequence == a.sequence && b.number > a.number {
		return b
	}
	return a
}

// kept lists the chunks that bring a new engine to the same state, with the objects, when they are applied in the order of the
// log.
func (p *provision) kept() []*chunk {
	out := slices.Clone(p.force.chunks)
	for number, c := range p.slots {
		if int(number) < len(p.force.chunks) && c == p.force.chunks[number] {
			continue
		}
		out = append(out, c)
	}
	return out
}
