package console

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

func checkCluster(v *validation, id string, doc, _ document) (document, error) {
	var c pce.ContainerCluster
	if err := doc.into(&c); err != nil {
		return nil, err
	}
	for _, field := range external {
		if doc[field] != nil {
			return nil, invalid(field, "is not a field of container clusters")
		}
	}
	return doc, checkNamed(v, id, doc)
}

var modes = []string{pce.ModeIdle, pce.ModeVisibilityOnly, pce.ModeSelective, pce.ModeFull}

// checkProfile holds that a namespace has one profile and keeps it, and that only managed profiles have labels. A new profile
// without a namespace is of the one that it is called after: public clients give no other, and none is the cluster's default.
func checkProfile(v *validation, id string, doc, before document) (document, error) {
	doc = withProfileDefaults(doc)
	if name := doc.text("name"); before == nil && name != "" {
		doc = doc.otherwise(map[string]any{"namespace": name})
	}
	doc, err := v.assigned(doc, before)
	if err != nil {
		return nil, err
	}
	var p pce.ContainerWorkloadProfile
	if err := doc.into(&p); err != nil {
		return nil, err
	}
	switch {
	case before != nil && !bytes.Equal(normal(before["namespace"]), normal(doc["namespace"])):
		return nil, invalid("namespace", "cannot be changed")
	case before == nil && p.Namespace != nil && *p.Namespace == "":
		return nil, invalid("namespace", "must not be empty")
	case len(p.Labels) > 0 && !doc.flag("managed", false):
		return nil, refuse(http.StatusNotAcceptable, "labels_on_unmanaged_profile", "labels: only a managed profile can have labels")
	}
	if err := oneOf("enforcement_mode", p.EnforcementMode, modes); err != nil {
		return nil, err
	}
	if err := oneOf("visibility_level", doc.text("visibility_level"), visibilityLevels); err != nil {
		return nil, err
	}
	if err := v.profileLabels(p.Labels); err != nil {
		return nil, err
	}
	return doc, v.taken(id, doc, "namespace")
}

func normal(value []byte) []byte {
	if len(value) == 0 {
		return []byte("null")
	}
	return value
}

// assigned takes the labels of a profile in either of their forms: assign_labels, the older one, replaces the assignments and
// leaves restrictions of other keys.
func (v *validation) assigned(doc, before document) (document, error) {
	var labels, kept []pce.ProfileLabel
	if err := decodeInto(doc["labels"], &labels); err != nil {
		return nil, invalid("labels", "want a list of labels by key")
	}
	var refs []pce.Ref
	if err := decodeInto(normal(doc["assign_labels"]), &refs); err != nil {
		return nil, invalid("assign_labels", "want a list of references")
	}
	given := refs != nil && !slices.Equal(refs, assigned(before))
	doc = doc.without([]string{"assign_labels"})
	for _, l := range labels {
		if l.Assignment != nil && l.Assignment.Href == "" {
			l.Assignment = nil
		}
		if !given || l.Assignment == nil {
			kept = append(kept, l)
		}
	}
	if !given {
		return doc.set("labels", append([]pce.ProfileLabel{}, kept...)), nil
	}
	for _, ref := range refs {
		if err := v.refers("assign_labels", tableLabels, ref.Href); err != nil {
			return nil, err
		}
		key := v.labelKey(ref.Href)
		kept = slices.DeleteFunc(kept, func(l pce.ProfileLabel) bool { return l.Key == key && l.Assignment == nil })
		kept = append(kept, pce.ProfileLabel{Key: key, Assignment: &pce.LabelRef{Href: ref.Href}})
	}
	return doc.set("labels", append([]pce.ProfileLabel{}, kept...)), nil
}

func withProfileDefaults(doc document) document {
	return doc.otherwise(map[string]any{
		"managed": false, "enforcement_mode": pce.ModeIdle, "visibility_level": "flow_summary", "labels": []string{},
		"namespace": nil, "name": nil, "description": "",
	})
}

func (v *validation) profileLabels(labels []pce.ProfileLabel) error {
	seen := map[string]bool{}
	for _, l := range labels {
		refs := []pce.LabelRef{}
		switch {
		case seen[l.Key]:
			return invalid("labels.key", "%q is there twice", l.Key)
		case (l.Assignment == nil) == (l.Restriction == nil):
			return invalid("labels", "key %q: want either assignment or restriction", l.Key)
		case l.Assignment != nil:
			refs = append(refs, *l.Assignment)
		default:
			refs = *l.Restriction
		}
		seen[l.Key] = true
		if err := v.labelsOfKey(l.Key, refs); err != nil {
			return err
		}
	}
	return nil
}

func (v *validation) labelsOfKey(key string, refs []pce.LabelRef) error {
	if !v.state.isDimension(key) {
		return invalid("labels.key", "%q is not the key of a label dimension", key)
	}
	for _, ref := range refs {
		if err := v.refers("labels", tableLabels, ref.Href); err != nil {
			return err
		}
		if got := v.labelKey(ref.Href); got != key {
			return invalid("labels", "%s is a label of key %q, not %q", ref.Href, got, key)
		}
	}
	return nil
}
