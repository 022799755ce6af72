package clas_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// specConsoleSteps are what acts in the console at once: labels, profiles, workloads.
var specConsoleSteps = map[string]func(*specRun){
	"label":           (*specRun).writeLabels,
	"dimension":       (*specRun).writeDimension,
	"profile":         (*specRun).writeProfile,
	"pce-workload":    (*specRun).writePceWorkload,
	"pairing-profile": (*specRun).writePairingProfile,
	"acknowledge":     (*specRun).writeAcknowledgement,
	"console":         (*specRun).writeLink,
}

func pceSubject(kind, href string) string {
	return "facts.pce." + kind + "." + token(href[strings.LastIndex(href, "/")+1:])
}

// labelOf gives the href of a label that the page writes KEY=VALUE.
func (r *specRun) labelOf(text string) string {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		r.stop("%q is no label: KEY=VALUE", text)
	}
	return labelHref(key + "-" + value)
}

func (r *specRun) labels(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, r.labelOf(w))
	}
	return out
}

// writeLabels: label KEY=VALUE... or label KEY=VALUE as OTHER=HREF, which gives the label the href of another.
func (r *specRun) writeLabels() {
	p := r.phrase("as", "")
	for _, word := range p.list("") {
		key, value, _ := strings.Cut(word, "=")
		href := r.labelOf(word)
		if p.has("as") {
			href = r.labelOf(p.one("as"))
			word = p.one("as")
		}
		r.write("label "+word, entry{pceSubject("label", href), &pb.Fact{Body: &pb.Fact_Label{Label: &pb.Label{Href: href, Key: key, Value: value}}}})
	}
}

func (r *specRun) writeDimension() {
	for key := range strings.FieldsSeq(r.at.text) {
		href := "/orgs/1/label_dimensions/" + key
		r.write("dimension "+key, entry{pceSubject("label_dimension", href), &pb.Fact{Body: &pb.Fact_LabelDimension{
			LabelDimension: &pb.LabelDimension{Href: href, Key: key}}}})
	}
}

// writeProfile: profile NAME for NAMESPACE (or for every namespace: *) MODE|unmanaged [LABEL...].
func (r *specRun) writeProfile() {
	words := strings.Fields(r.at.text)
	if len(words) < 4 || words[1] != "for" {
		r.stop("want NAME for NAMESPACE MODE")
	}
	r.writeProfileOf(words[0], strings.Trim(words[2], "*"), words[3:])
}

// writeProfileOf reads MODE|unmanaged and then, a key, KEY=VALUE for an assignment or KEY:VALUE|VALUE for a restriction.
func (r *specRun) writeProfileOf(name, namespace string, words []string) {
	p := &pb.ContainerWorkloadProfile{Namespace: namespace, Managed: words[0] != "unmanaged"}
	if p.GetManaged() {
		p.EnforcementMode = r.mode(words[0])
	}
	for _, word := range words[1:] {
		key, value, restricts := strings.Cut(word, ":")
		if !restricts {
			key, _, _ = strings.Cut(word, "=")
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Assignment: r.labelOf(word)})
			continue
		}
		l := &pb.ProfileLabel{Key: key, Restricted: true}
		for v := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == '|' }) {
			l.Restriction = append(l.Restriction, r.labelOf(key+"="+v))
		}
		p.Labels = append(p.Labels, l)
	}
	r.write("profile "+name, profileFact(name, p))
}

// writePceWorkload: pce-workload NAME with clauses. It is managed unless said otherwise.
func (r *specRun) writePceWorkload() {
	p := r.phrase("at labels mode machine", "unmanaged")
	m := &pb.PceWorkload{Href: "/orgs/1/workloads/" + p.one(""), Name: p.one(""), Hostname: p.one(""), Addresses: p.list("at"),
		Labels: r.labels(p.list("labels")), Managed: !p.has("unmanaged"), MachineId: p.one("machine"), EnforcementMode: full}
	if p.has("mode") {
		m.EnforcementMode = r.mode(p.one("mode"))
	}
	r.write("pce-workload "+p.one(""), entry{pceSubject("workload", m.GetHref()), &pb.Fact{Body: &pb.Fact_PceWorkload{PceWorkload: m}}})
}

// writePairingProfile: pairing-profile NAME MODE [labels LABEL...] [disabled].
func (r *specRun) writePairingProfile() {
	p := r.phrase("labels", "disabled")
	words := p.list("")
	if len(words) != 2 {
		r.stop("want NAME MODE")
	}
	m := &pb.PairingProfile{Href: "/orgs/1/pairing_profiles/" + words[0], Name: words[0], Enabled: !p.has("disabled"),
		EnforcementMode: r.mode(words[1]), Labels: r.labels(p.list("labels"))}
	r.write("pairing-profile "+words[0], entry{pceSubject("pairing_profile", m.GetHref()), &pb.Fact{Body: &pb.Fact_PairingProfile{PairingProfile: m}}})
}

func specAcknowledged(workload string) string {
	return "/orgs/1/kubernetes_workloads/" + strings.ReplaceAll(workload, "/", "-")
}

// writeAcknowledgement: acknowledge NAMESPACE/KIND/NAME...
func (r *specRun) writeAcknowledgement() {
	for workload := range strings.FieldsSeq(r.at.text) {
		name := r.split(workload, 3)
		m := &pb.AcknowledgedWorkload{Href: specAcknowledged(workload), Namespace: name[0], Kind: name[1], Name: name[2]}
		r.write("acknowledge "+workload, entry{pceSubject("kubernetes_workload", m.GetHref()),
			&pb.Fact{Body: &pb.Fact_AcknowledgedWorkload{AcknowledgedWorkload: m}}})
	}
}

// writeLink: console up or console down.
func (r *specRun) writeLink() {
	if r.at.text != "up" && r.at.text != "down" {
		r.stop("the console is up or down")
	}
	r.write("console link", entry{"facts.ctl.link", &pb.Fact{Body: &pb.Fact_PceLink{PceLink: &pb.PceLink{Up: r.at.text == "up"}}}})
}

// specConsole is the console's versioned side: the draft, which is provisioned before each expectation if it changed.
type specConsole struct {
	draft   map[string]*pb.PceObject // by the words that wrote it: ruleset Shop
	changed bool
	byHand  bool
	version int64
	// kinds tells of every rule, by href, of which kind it is: allow, deny, override deny, boundary.
	kinds map[string]string
}

func newSpecConsole() *specConsole {
	return &specConsole{draft: map[string]*pb.PceObject{}, kinds: map[string]string{}}
}

func (r *specRun) draw(name string, o *pb.PceObject) {
	r.console.draft[name], r.console.changed = o, true
}

func (r *specRun) provisionDraft() {
	if r.console.byHand || !r.console.changed {
		return
	}
	r.console.changed = false
	r.console.version++
	names := slices.Sorted(maps.Keys(r.console.draft))
	for _, name := range names {
		r.apply(objectFact(r.console.draft[name]))
	}
	r.writeChunk(&pb.Provisioned{Version: r.console.version, Chunks: 1}, names)
}

func (r *specRun) writeChunk(m *pb.Provisioned, names []string) {
	for _, name := range names {
		o := r.console.draft[name]
		if o == nil {
			r.stop("the draft has no %q", name)
		}
		m.Entries = append(m.Entries, &pb.ManifestEntry{Href: specObjectHref(o), Sha256: objectHash(o)})
	}
	name := fmt.Sprintf("chunk %d", m.GetChunk())
	r.write(name, entry{fmt.Sprintf("facts.pce.provisioned.%d", m.GetChunk()), &pb.Fact{Body: &pb.Fact_Provisioned{Provisioned: m}}})
}

// specObjectHref reads the href of whatever kind of object it is.
func specObjectHref(o *pb.PceObject) string {
	m := o.ProtoReflect()
	kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("object"))
	inner := m.Get(kind).Message()
	return inner.Get(inner.Descriptor().Fields().ByName("href")).String()
}

// provisionByHand: by-hand. From here on, object and chunk are the only facts of the versioned side.
func (r *specRun) provisionByHand() {
	r.provisionDraft()
	r.console.byHand = true
}

// writeObject: object KIND NAME gives the draft's object as a fact.
func (r *specRun) writeObject() {
	o := r.console.draft[r.at.text]
	if o == nil {
		r.stop("the draft has no %q", r.at.text)
	}
	r.write("object "+r.at.text, objectFact(proto.CloneOf(o)))
}

// writeChunkByHand: chunk NUMBER/OF of VERSION: KIND NAME, KIND NAME...
func (r *specRun) writeChunkByHand() {
	m := &pb.Provisioned{}
	head, list, _ := strings.Cut(r.at.text, ":")
	if _, err := fmt.Sscanf(head, "%d/%d of %d", &m.Chunk, &m.Chunks, &m.Version); err != nil {
		r.stop("want NUMBER/OF of VERSION: %v", err)
	}
	r.writeChunk(m, commaList(list))
}

func commaList(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
