package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// annotationPrefix starts the annotations that request labels: com.illumio.<key>: <value>.
const annotationPrefix = "com.illumio."

// label is one value of one dimension. Rules and actors meet by key and value; hrefs only name.
type label struct{ key, value string }

func (l label) String() string { return l.key + "=" + l.value }

func compareLabels(a, b label) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value))
}

// catalogue knows the labels of the console by href. Of a label that went it keeps the key: without it nobody could tell
// whether a rule that still names the label offers an alternative less or demands a key more.
type catalogue struct {
	byHref map[string]catalogued
	// current counts the hrefs that give a label its key and value now.
	current map[label]int
}

type catalogued struct {
	label
	gone bool
}

func newCatalogue() *catalogue {
	return &catalogue{byHref: map[string]catalogued{}, current: map[label]int{}}
}

func parseLabel(s subject, m *ringfencev1.Label) error {
	if err := s.identifies("label", m.GetHref()); err != nil {
		return err
	}
	if m.GetKey() == "" {
		return fmt.Errorf("label %s: key: empty", m.GetHref())
	}
	if m.GetValue() == "" {
		return fmt.Errorf("label %s: value: empty", m.GetHref())
	}
	return nil
}

// put makes the href stand for the label.
func (c *catalogue) put(href string, l label) {
	c.forget(href)
	c.byHref[href] = catalogued{label: l}
	c.current[l]++
}

// bury removes the label and keeps its key.
func (c *catalogue) bury(href string) {
	entry := c.byHref[href]
	c.forget(href)
	entry.gone = true
	c.byHref[href] = entry
}

// forget removes every trace of the href.
func (c *catalogue) forget(href string) {
	entry, known := c.byHref[href]
	if !known {
		return
	}
	delete(c.byHref, href)
	if entry.gone {
		return
	}
	if c.current[entry.label]--; c.current[entry.label] == 0 {
		delete(c.current, entry.label)
	}
}

// find gives the label that the href stands for now.
func (c *catalogue) find(href string) (label, bool) {
	entry, known := c.byHref[href]
	return entry.label, known && !entry.gone
}

// keyOf gives the key of a label that is there or once was.
func (c *catalogue) keyOf(href string) (string, bool) {
	entry, known := c.byHref[href]
	return entry.key, known
}

// exists tells whether the console has the label.
func (c *catalogue) exists(l label) bool { return c.current[l] > 0 }

// LabelSource says where a label of an endpoint came from.
type LabelSource string

// The sources of labels.
const (
	// SourceProfile is the assignment of the namespace's container workload profile.
	SourceProfile LabelSource = "profile"
	// SourceAnnotation is a com.illumio annotation of the workload.
	SourceAnnotation LabelSource = "annotation"
	// SourceBackends says that a Service has the labels that all its pods agree on.
	SourceBackends LabelSource = "backends"
)

// sourced is a label with its source.
type sourced struct {
	label
	source LabelSource
}

// identity is what labels an actor got, and why not others.
type identity struct {
	// labels are sorted by key, one a key.
	labels []sourced
	// ignored says in words which annotations had no effect.
	ignored []string
}

func (i identity) plain() []label {
	out := make([]label, len(i.labels))
	for n, s := range i.labels {
		out[n] = s.label
	}
	return out
}

// from gives the same labels from another source.
func (i identity) from(source LabelSource) identity {
	out := identity{labels: slices.Clone(i.labels)}
	for n := range out.labels {
		out.labels[n].source = source
	}
	return out
}

// resolve gives a workload its labels: the profile's assignments, then the annotations for keys that the profile leaves
// open, if the console has the label and no restriction excludes it.
func (c *catalogue) resolve(p *profile, annotations map[string]string) identity {
	var id identity
	for key, href := range p.assigned {
		if l, ok := c.find(href); ok && l.key == key {
			id.labels = append(id.labels, sourced{l, SourceProfile})
		}
	}
	for name, value := range annotations {
		key, isLabel := strings.CutPrefix(name, annotationPrefix)
		if !isLabel {
			continue
		}
		l := label{key, value}
		if reason := c.refuses(p, l); reason != "" {
			id.ignored = append(id.ignored, fmt.Sprintf("annotation %s: %q: %s", name, value, reason))
			continue
		}
		id.labels = append(id.labels, sourced{l, SourceAnnotation})
	}
	slices.SortFunc(id.labels, func(a, b sourced) int { return compareLabels(a.label, b.label) })
	slices.Sort(id.ignored)
	return id
}

// refuses says why an annotation's label is not taken, or nothing.
func (c *catalogue) refuses(p *profile, l label) string {
	if _, fixed := p.assigned[l.key]; fixed {
		return "the profile fixes this key"
	}
	if !c.exists(l) {
		return "the console has no such label"
	}
	hrefs, restricted := p.restricted[l.key]
	if !restricted {
		return ""
	}
	for _, href := range hrefs {
		if allowed, ok := c.find(href); ok && allowed == l {
			return ""
		}
	}
	return "the profile's restriction does not list it"
}

// hasLabelAnnotation tells whether any annotation requests a label.
func hasLabelAnnotation(annotations map[string]string) bool {
	for name := range annotations {
		if strings.HasPrefix(name, annotationPrefix) {
			return true
		}
	}
	return false
}

// canonical writes sorted labels so that different label sets never read alike.
func canonical(labels []label) string {
	var b []byte
	for _, l := range labels {
		b = strconv.AppendQuote(b, l.key)
		b = append(b, '=')
		b = strconv.AppendQuote(b, l.value)
		b = append(b, ',')
	}
	return string(b)
}
