package clas_test

import (
	"fmt"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// specRun is one case while it runs. Facts are collected until something is expected: they are then one batch, followed by
// one flush.
type specRun struct {
	*testing.T
	at     specLine // the directive being carried out
	engine *clas.Engine
	reader *readerState
	// log is every fact so far, from which the engine can be rebuilt.
	log []entry
	// subjects finds the subject of what a directive wrote, by its first two words.
	subjects map[string]string
	console  *specConsole
	// hostNetwork gives the node of each pod that shares its node's network.
	hostNetwork map[string]string
	pods        map[string]*pb.Pod
	pending     bool
	// delta is that of the last flush, policy the whole after it.
	delta        clas.Delta
	policy       clas.Policy
	expectations int
}

// runSpecCase carries out the page's world and then the case. It returns how many expectations were checked.
func runSpecCase(t *testing.T, page *specPage, c *specCase) int {
	r := &specRun{T: t, engine: clas.New(), reader: newReader(), subjects: map[string]string{}, console: newSpecConsole(),
		hostNetwork: map[string]string{}, pods: map[string]*pb.Pod{}}
	for _, l := range page.world {
		r.carryOut(l)
	}
	for _, l := range c.steps {
		r.carryOut(l)
	}
	if r.expectations == 0 {
		t.Errorf("%s: case %q expects nothing", page.path, c.name)
	}
	r.tearDown()
	return r.expectations
}

// carryOut does one directive: a step changes the world, an expectation checks what the engine made of it.
func (r *specRun) carryOut(l specLine) {
	r.at = l
	if step := specSteps[l.verb]; step != nil {
		step(r)
		return
	}
	expectation := specExpectations[l.verb]
	if expectation == nil {
		r.stop("nobody knows the directive %q", l.verb)
	}
	r.settle()
	expectation(r)
}

// stop ends the case: the page is wrong.
func (r *specRun) stop(format string, args ...any) {
	r.Helper()
	r.Fatalf("%s:%d: %s: %s", r.at.path, r.at.number, r.at, fmt.Sprintf(format, args...))
}

// check counts an expectation and reports it if it failed.
func (r *specRun) check(holds bool, format string, args ...any) {
	r.Helper()
	r.expectations++
	if !holds {
		r.Errorf("%s:%d: %s: %s", r.at.path, r.at.number, r.at, fmt.Sprintf(format, args...))
	}
}

// write applies a fact and remembers its subject by the name that the page gave it.
func (r *specRun) write(name string, e entry) {
	r.subjects[name] = e.subject
	r.apply(e)
}

func (r *specRun) apply(e entry) {
	r.log = append(r.log, e)
	r.pending = true
	if err := r.engine.Apply(e.subject, uint64(len(r.log)), e.fact); err != nil {
		r.stop("refused: %v", err)
	}
}

// settle provisions what the page wrote for the console, flushes, and checks what must hold after every batch.
func (r *specRun) settle() {
	r.provisionDraft()
	if !r.pending {
		return
	}
	r.pending = false
	r.delta = r.engine.Flush()
	r.policy = r.engine.Policy()
	if err := r.reader.apply(r.delta); err != nil {
		r.stop("the delta before: %v", err)
	}
	if err := r.reader.equal(r.policy); err != nil {
		r.stop("the deltas so far do not add up to the policy: %v", err)
	}
	if d := r.engine.Flush(); !d.Empty() {
		r.stop("a second flush gives %+v", d)
	}
	r.checkParts()
	r.checkRules()
	r.checkRebuilt()
}

// checkRules makes sure that a policy has each rule once in each of its lists.
func (r *specRun) checkRules() {
	for _, p := range r.policy.Policies {
		for _, list := range [][]*pb.PolicyRule{p.GetInbound(), p.GetOutbound(), p.GetInboundDeny(), p.GetOutboundDeny(),
			p.GetInboundOverrideDeny(), p.GetOutboundOverrideDeny()} {
			for i, rule := range list {
				if i > 0 && list[i-1].GetId() >= rule.GetId() {
					r.stop("policy %s: rule %s does not come after %s", p.GetId(), rule.GetId(), list[i-1].GetId())
				}
				r.checkTerms(rule)
			}
		}
	}
}

// checkParts compares the parts of the policy that can be had alone.
func (r *specRun) checkParts() {
	for _, want := range r.policy.Plans {
		if got, ok := r.engine.Plan(want.GetNode()); !ok || !proto.Equal(got, want) {
			r.stop("the plan of %s alone is %v, in the policy it is %v", want.GetNode(), got, want)
		}
	}
	if _, ok := r.engine.Plan("a node that nobody heard of"); ok {
		r.stop("there is a plan for a node that nobody heard of")
	}
	if got := r.engine.Namespaces(); !proto.Equal(got, r.policy.Namespaces) {
		r.stop("the namespaces alone are %v, in the policy they are %v", got, r.policy.Namespaces)
	}
}

// checkTerms makes sure that a rule names each of its sets once, and with ports.
func (r *specRun) checkTerms(rule *pb.PolicyRule) {
	seen := map[string]bool{}
	for _, t := range rule.GetTerms() {
		if seen[t.GetAddressSet()] || len(t.GetPorts()) == 0 {
			r.stop("rule %s: term %v is one of several, or is about no port", rule.GetHref(), t)
		}
		seen[t.GetAddressSet()] = true
	}
}

// checkRebuilt compares with an engine that saw all facts in one go, and with one from a snapshot.
func (r *specRun) checkRebuilt() {
	rebuilt := clas.New()
	for i, e := range r.log {
		if err := rebuilt.Apply(e.subject, uint64(i+1), e.fact); err != nil {
			r.stop("rebuilding: %v", err)
		}
	}
	want := r.engine.Digest()
	if got := rebuilt.Digest(); got != want {
		r.stop("an engine that saw the facts in one go has %+v, not %+v", rebuilt.Policy(), r.policy)
	}
	restored, err := clas.Restore(withoutErrors(r.engine.Snapshot()))
	if err != nil {
		r.stop("restoring: %v", err)
	}
	if got := restored.Digest(); got != want {
		r.stop("an engine from a snapshot has %+v, not %+v", restored.Policy(), r.policy)
	}
}

// phrase is the words of a directive by the keyword that leads them. Those before any keyword are under "".
type phrase struct {
	run   *specRun
	words map[string][]string
}

// phrase sorts the words of the directive by keywords, each of which may occur once. Flags are keywords without words.
func (r *specRun) phrase(keywords, flags string) phrase {
	p := phrase{run: r, words: map[string][]string{"": nil}}
	current := ""
	for _, word := range strings.Fields(r.at.text) {
		isFlag := hasWord(flags, word)
		if !isFlag && !hasWord(keywords, word) {
			if hasWord(flags, current) {
				r.stop("%q follows %q", word, current)
			}
			p.words[current] = append(p.words[current], word)
			continue
		}
		if p.has(word) {
			r.stop("%q occurs twice", word)
		}
		current = word
		p.words[current] = nil
	}
	for keyword, words := range p.words {
		if keyword != "" && hasWord(keywords, keyword) && len(words) == 0 {
			r.stop("nothing follows %q", keyword)
		}
	}
	return p
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}

func (p phrase) has(keyword string) bool {
	_, ok := p.words[keyword]
	return ok
}

func (p phrase) list(keyword string) []string { return p.words[keyword] }

// one gives the only word after the keyword, "" where the keyword is absent.
func (p phrase) one(keyword string) string {
	words := p.words[keyword]
	if len(words) > 1 || len(words) == 0 && keyword == "" {
		p.run.stop("%d words %v after %q, want one", len(words), words, keyword)
	}
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// pairs reads key=value words.
func (p phrase) pairs(keyword string) map[string]string {
	var out map[string]string
	for _, word := range p.words[keyword] {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			p.run.stop("%q is not key=value", word)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out
}

// split takes a name apart that has n parts.
func (r *specRun) split(name string, n int) []string {
	parts := strings.Split(name, "/")
	if len(parts) != n {
		r.stop("%q does not have %d parts", name, n)
	}
	return parts
}
