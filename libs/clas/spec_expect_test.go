package clas_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/clas"
)

// specExpectations are the directives that check what the engine made of the world.
var specExpectations map[string]func(*specRun)

func init() {
	specExpectations = map[string]func(*specRun){}
	maps.Copy(specExpectations, specAnswers)
	maps.Copy(specExpectations, specOutcomes)
}

// specAnswers are about what Explain says.
var specAnswers = map[string]func(*specRun){
	"allow":        func(r *specRun) { r.expectVerdict(clas.Allowed) },
	"would-block":  func(r *specRun) { r.expectVerdict(clas.PotentiallyBlocked) },
	"block":        func(r *specRun) { r.expectVerdict(clas.Blocked) },
	"labels":       (*specRun).expectLabels,
	"ignored":      (*specRun).expectIgnored,
	"endpoint":     (*specRun).expectEndpoint,
	"reaches":      (*specRun).expectBackends,
	"paths":        (*specRun).expectPaths,
	"changes":      func(r *specRun) { r.expectAnswer(true, changesText) },
	"unchanged":    func(r *specRun) { r.expectAnswer(false, changesText) },
	"explained":    func(r *specRun) { r.expectAnswer(true, explanationText) },
	"unexplained":  func(r *specRun) { r.expectAnswer(false, explanationText) },
	"unanswerable": (*specRun).expectNoAnswer,
}

// connection is what an expectation asks about. Each of the lists has at least one item.
type connection struct {
	sources, destinations, ports []string
	rest                         []string
}

// connection reads SOURCE[, SOURCE] -> DESTINATION[, DESTINATION] PORT[, PORT] and what follows.
func (r *specRun) connection() connection {
	left, right, ok := strings.Cut(r.at.text, " -> ")
	if !ok {
		r.stop("want SOURCE -> DESTINATION PORT")
	}
	c := connection{sources: commaList(left), rest: strings.Fields(right)}
	c.destinations, c.rest = leadingList(c.rest)
	c.ports, c.rest = leadingList(c.rest)
	if len(c.sources) == 0 || len(c.destinations) == 0 || len(c.ports) == 0 {
		r.stop("want SOURCE -> DESTINATION PORT")
	}
	return c
}

// leadingList takes words as long as commas join them.
func leadingList(words []string) (list, rest []string) {
	for i, w := range words {
		item, more := strings.CutSuffix(w, ",")
		list = append(list, item)
		if !more {
			return list, words[i+1:]
		}
	}
	return list, nil
}

func (r *specRun) queries(c connection) []clas.Query {
	var out []clas.Query
	for _, source := range c.sources {
		for _, destination := range c.destinations {
			for _, port := range c.ports {
				p := r.portRange(port)
				q := clas.Query{Source: source, Destination: destination, Port: uint16(p.GetPort()), Protocol: uint8(p.GetProtocol())}
				if p.IcmpType != nil {
					q.Port, q.ICMPCode = uint16(p.GetIcmpType()), uint8(p.GetIcmpCode())
				}
				out = append(out, q)
			}
		}
	}
	return out
}

// expectVerdict: VERDICT CONNECTION [by WHO] [out WHO] [in WHO]. Where a connection is allowed, by names what lets it pass at
// every end that has a say; where it is not, what stops it at every end that does. WHO is RULESET/RULE, boundary/NAME,
// default, essential, or nobody for an end that has no say.
func (r *specRun) expectVerdict(want clas.Verdict) {
	c := r.connection()
	who := map[string]string{}
	for i := 0; i < len(c.rest); i += 2 {
		if !hasWord("by out in", c.rest[i]) || i+1 == len(c.rest) || who[c.rest[i]] != "" {
			r.stop("%q after the port: want by, out or in with a name", c.rest[i])
		}
		who[c.rest[i]] = c.rest[i+1]
	}
	for _, q := range r.queries(c) {
		x, err := r.engine.Explain(q)
		if err != nil {
			r.check(false, "%v", err)
			continue
		}
		problem := ""
		if x.Verdict != want {
			problem = "it is " + string(x.Verdict)
		}
		problem = cmp.Or(problem, r.decidedBy(x, who), r.enforced(q, x))
		r.check(problem == "", "%s -> %s %s: %s\n%s", q.Source, q.Destination, c.ports, problem, x.Text())
	}
}

// decidedBy compares what decided with what should have. It says what is wrong, or nothing.
func (r *specRun) decidedBy(x clas.Explanation, who map[string]string) string {
	for end, side := range map[string]clas.Side{"out": x.Outbound, "in": x.Inbound} {
		if want := who[end]; want != "" && !r.isDecision(side, want) {
			return fmt.Sprintf("%s was not decided by %s", end, want)
		}
	}
	if who["by"] == "" {
		return ""
	}
	decisive := map[clas.Verdict]clas.Decision{clas.Allowed: clas.DecisionAllowed, clas.PotentiallyBlocked: clas.DecisionPotentiallyBlocked,
		clas.Blocked: clas.DecisionBlocked}[x.Verdict]
	found := false
	for _, side := range []clas.Side{x.Outbound, x.Inbound} {
		if side.Decision == decisive {
			if found = true; !r.isDecision(side, who["by"]) {
				return "not by " + who["by"]
			}
		}
	}
	if !found {
		return "no end has a say"
	}
	return ""
}

// isDecision tells whether a side was decided by what the page calls so.
func (r *specRun) isDecision(side clas.Side, who string) bool {
	switch who {
	case "nobody":
		return side.Decision == clas.DecisionNoPolicy
	case "default", "essential":
		return side.Decision != clas.DecisionNoPolicy && side.RuleHref == "" && strings.Contains(side.Kind, who)
	}
	href := r.ruleHref(who)
	return side.RuleHref == href && strings.Contains(strings.ToLower(side.Kind), r.console.kinds[href])
}

// ruleHref finds the href of a rule that the page calls RULESET/RULE or boundary/NAME.
func (r *specRun) ruleHref(who string) string {
	set, name, _ := strings.Cut(who, "/")
	for _, href := range []string{ruleHref(set, name), specDeny(set, name), specBoundary(name)} {
		if kind := r.console.kinds[href]; kind != "" && (kind == "boundary") == (set == "boundary") {
			return href
		}
	}
	r.stop("the page has no rule %q", who)
	return ""
}

// describe asks for an endpoint by a connection to it from outside of the cluster.
func (r *specRun) describe(name string) (clas.Endpoint, error) {
	var failed error
	for _, from := range []string{"203.0.113.254", "2001:db8:ffff::fe"} {
		x, err := r.engine.Explain(clas.Query{Source: from, Destination: name, Port: 9, Protocol: 6})
		if err == nil {
			return x.Destination, nil
		}
		failed = err
	}
	return clas.Endpoint{}, failed
}

// subjects reads ENDPOINT[, ENDPOINT]: TEXT.
func (r *specRun) about() (endpoints []string, text string) {
	head, text, ok := strings.Cut(r.at.text+" ", ": ")
	if !ok {
		r.stop("want ENDPOINT: …")
	}
	return commaList(head), strings.TrimSpace(text)
}

// expectLabels: labels ENDPOINT[, ENDPOINT]: KEY=VALUE from SOURCE, ... or none.
func (r *specRun) expectLabels() {
	endpoints, text := r.about()
	want := commaList(text)
	if text == "none" {
		want = nil
	}
	slices.Sort(want)
	for _, name := range endpoints {
		e, err := r.describe(name)
		var got []string
		for _, l := range e.Labels {
			got = append(got, fmt.Sprintf("%s=%s from %s", l.Key, l.Value, l.Source))
		}
		slices.Sort(got)
		r.check(err == nil && slices.Equal(got, want), "%s has %v, %v", name, got, err)
	}
}

// expectIgnored: ignored ENDPOINT: WORDS, which are part of what the endpoint says that it ignores, or nothing.
func (r *specRun) expectIgnored() {
	endpoints, text := r.about()
	for _, name := range endpoints {
		e, err := r.describe(name)
		got := strings.Join(e.Ignored, "; ")
		r.check(err == nil && (text == "nothing") == (got == "") && (text == "nothing" || strings.Contains(got, text)), "%s ignores %q, %v", name, got, err)
	}
}

// expectEndpoint: endpoint NAME: WORD..., of its kind, its mode, managed or unmanaged, and on NODE.
func (r *specRun) expectEndpoint() {
	endpoints, text := r.about()
	for _, name := range endpoints {
		e, err := r.describe(name)
		got := fmt.Sprintf("%s %s %s node:%s", e.Kind, e.Mode, map[bool]string{true: "managed", false: "unmanaged"}[e.Managed], e.Node)
		for word := range strings.FieldsSeq(text) {
			r.check(err == nil && hasWord(got, word), "%s is %q, %v", name, got, err)
		}
	}
}

// asked reads CONNECTION: TEXT.
func (r *specRun) asked() (queries []clas.Query, text string) {
	all := r.at.text
	at := strings.Index(all, ": ")
	if at < 0 {
		r.stop("want CONNECTION: …")
	}
	r.at.text = all[:at]
	queries = r.queries(r.connection())
	r.at.text = all
	return queries, strings.TrimSpace(all[at+1:])
}

// expectBackends: reaches CONNECTION: NAMESPACE/POD@PORT, ... or none: the backends of the paths.
func (r *specRun) expectBackends() {
	queries, text := r.asked()
	want := commaList(strings.TrimPrefix(text, "none"))
	slices.Sort(want)
	for _, q := range queries {
		x, err := r.engine.Explain(q)
		var got []string
		for _, p := range x.Paths {
			if p.Backend != "" {
				got = append(got, fmt.Sprintf("%s@%d", p.Backend, p.BackendPort))
			}
		}
		slices.Sort(got)
		r.check(err == nil && slices.Equal(slices.Compact(got), want), "it reaches %v, %v", got, err)
	}
}

// expectPaths: paths CONNECTION: NUMBER of ways that the explanation tells apart.
func (r *specRun) expectPaths() {
	queries, text := r.asked()
	for _, q := range queries {
		x, err := r.engine.Explain(q)
		r.check(len(x.Paths) == int(r.number(text)), "there are %d, %v", len(x.Paths), err)
	}
}

// expectAnswer reads CONNECTION: WORDS and looks whether the words are part of what answer gives.
func (r *specRun) expectAnswer(want bool, answer func(clas.Explanation, error) string) {
	queries, text := r.asked()
	for _, q := range queries {
		got := answer(r.engine.Explain(q))
		r.check(strings.Contains(got, text) == want, "%s -> %s: %s", q.Source, q.Destination, got)
	}
}

// changesText is about: changes CONNECTION: WORDS, which are part of what would have to change for the opposite verdict, and
// unchanged for words that are not.
func changesText(x clas.Explanation, err error) string {
	if err != nil {
		return fmt.Sprintf("no answer: %v", err)
	}
	return fmt.Sprintf("%+v", x.Changes)
}

// explanationText is about: explained CONNECTION: WORDS, which are part of the explanation in words or of what it names, and
// unexplained for words that are not.
func explanationText(x clas.Explanation, err error) string {
	if err != nil {
		return fmt.Sprintf("no answer: %v", err)
	}
	return fmt.Sprintf("%s %+v %+v %+v", x.Text(), x.Sets, x.Source, x.Destination)
}

// expectNoAnswer: unanswerable CONNECTION: WORDS, which are part of the error.
func (r *specRun) expectNoAnswer() {
	r.expectAnswer(true, func(_ clas.Explanation, err error) string { return fmt.Sprintf("error: %v", err) })
}
