package console

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// filter reads the value of a query parameter and gives what it asks of an object; the refusal of a value that makes no
// sense need not name the parameter.
type filter func(value string) (chooses, error)

// chooses tells whether an object is asked for.
type chooses func(s view, r *record) bool

// view is the state with what the console knows without keeping it.
type view struct {
	*state
	agents *agents
}

// selection is what a whole query asks for. Parameters that the kind does not know are ignored, as the API does.
func (k kind) selection(query url.Values) (chooses, error) {
	var all []chooses
	for _, field := range k.exact {
		if query.Has(field) {
			want := query.Get(field)
			all = append(all, func(_ view, r *record) bool { return r.Doc.text(field) == want })
		}
	}
	for _, field := range k.substring {
		if part := strings.ToLower(query.Get(field)); part != "" {
			all = append(all, func(_ view, r *record) bool { return strings.Contains(strings.ToLower(r.Doc.text(field)), part) })
		}
	}
	for name, f := range k.filters {
		if !query.Has(name) {
			continue
		}
		choose, err := f(query.Get(name))
		if err != nil {
			return nil, invalid(name, "%q: %v", query.Get(name), err)
		}
		all = append(all, choose)
	}
	return func(s view, r *record) bool {
		return !slices.ContainsFunc(all, func(c chooses) bool { return !c(s, r) })
	}, nil
}

func byFlag(field string) filter {
	return func(value string) (chooses, error) {
		want, err := strconv.ParseBool(value)
		return func(_ view, r *record) bool { return r.Doc.flag(field, false) == want }, err
	}
}

// byRef finds objects whose field refers to an object, given by any of its hrefs.
func byRef(field string) filter {
	return func(value string) (chooses, error) {
		return func(_ view, r *record) bool { return toDraft(r.Doc.ref(field)) == toDraft(value) }, nil
	}
}

// byNumber finds objects with a number in a field of one of a list's entries.
func byNumber(list, field string) filter {
	return func(value string) (chooses, error) {
		want, err := strconv.ParseFloat(value, 64)
		return func(_ view, r *record) bool {
			return slices.ContainsFunc(r.Doc.list(list), func(entry map[string]any) bool { return entry[field] == want })
		}, err
	}
}

// byPort finds objects with a port among those of a list's entries, which may be ranges.
func byPort(list string) filter {
	return func(value string) (chooses, error) {
		want, err := strconv.Atoi(value)
		return func(_ view, r *record) bool {
			var entries []pce.ServicePort
			if json.Unmarshal(r.Doc[list], &entries) != nil {
				return false
			}
			return slices.ContainsFunc(entries, func(p pce.ServicePort) bool { return covers(p, pce.ServicePort{Port: &want}) })
		}, err
	}
}

// byPart finds objects with a string in a field of one of a list's entries.
func byPart(list string, fields ...string) filter {
	return func(value string) (chooses, error) {
		value = strings.ToLower(value)
		within := func(entry map[string]any) bool {
			return slices.ContainsFunc(fields, func(field string) bool {
				text, _ := entry[field].(string)
				return strings.Contains(strings.ToLower(text), value)
			})
		}
		return func(_ view, r *record) bool { return slices.ContainsFunc(r.Doc.list(list), within) }, nil
	}
}

// labelSets are alternatives of labels that an object must have together, by href.
func labelSets(value string) ([][]string, error) {
	var sets [][]string
	if err := json.Unmarshal([]byte(value), &sets); err != nil {
		return nil, errors.New(`want [["href","href"],["href"]]`)
	}
	return sets, nil
}

// byLabels finds objects with all the labels of one of the sets.
func byLabels(value string) (chooses, error) {
	sets, err := labelSets(value)
	return func(_ view, r *record) bool { return holdsOne(r.Doc.labelHrefs(), sets) }, err
}

// byScope finds rule sets that have all the labels of one of the sets in their scopes.
func byScope(value string) (chooses, error) {
	sets, err := labelSets(value)
	return func(_ view, r *record) bool { return holdsOne(r.refs, sets) }, err
}

func holdsOne(hrefs []string, sets [][]string) bool {
	return slices.ContainsFunc(sets, func(set []string) bool {
		return !slices.ContainsFunc(set, func(href string) bool { return !slices.Contains(hrefs, toDraft(href)) })
	})
}

func byLinked(value string) (chooses, error) {
	want, err := strconv.ParseBool(value)
	return func(s view, r *record) bool { return s.linked(r) == want }, err
}

// labelHrefs are the labels of an object of any kind, however it has them.
func (d document) labelHrefs() []string {
	var refs []struct {
		pce.Ref
		Assignment *pce.Ref `json:"assignment"`
	}
	if json.Unmarshal(d["labels"], &refs) != nil {
		return nil
	}
	hrefs := make([]string, 0, len(refs))
	for _, ref := range refs {
		if ref.Assignment != nil {
			ref.Ref = *ref.Assignment
		}
		hrefs = append(hrefs, ref.Href)
	}
	return hrefs
}
