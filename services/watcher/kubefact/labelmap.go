package kubefact

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// LabelMapResource is where the API server serves LabelMaps, if it does.
var LabelMapResource = schema.GroupVersionResource{Group: "ic4k.illumio.com", Version: "v1alpha1", Resource: "labelmaps"}

// LabelMapName is the name of the one LabelMap that counts.
const LabelMapName = "default"

func isLabelMap(object metav1.Object) bool {
	o, ok := object.(*unstructured.Unstructured)
	return ok && o.GroupVersionKind().GroupKind() == schema.GroupKind{Group: LabelMapResource.Group, Kind: "LabelMap"}
}

// The two lists of a LabelMap, which has no spec.
const (
	nodeLabelMap     = "nodeLabelMap"
	workloadLabelMap = "workloadLabelMap"
)

// labelMap reads what the API server holds to no types, or to those of somebody else's definition.
func labelMap(o *unstructured.Unstructured) (*ringfencev1.LabelMap, error) {
	fact := &ringfencev1.LabelMap{Name: o.GetName(), Uid: string(o.GetUID()), ResourceVersion: o.GetResourceVersion()}
	var err error
	if fact.NodeLabelMap, err = each(nodeLabelMap, o.Object[nodeLabelMap], labelMapping); err != nil {
		return nil, err
	}
	fact.WorkloadLabelMap, err = each(workloadLabelMap, o.Object[workloadLabelMap], labelMapping)
	return fact, err
}

func labelMapping(field string, m map[string]any) (*ringfencev1.LabelMapping, error) {
	fact := &ringfencev1.LabelMapping{}
	var err error
	if fact.FromKey, err = text(field+".fromKey", m["fromKey"], true); err != nil {
		return nil, err
	}
	if fact.ToKey, err = text(field+".toKey", m["toKey"], true); err != nil {
		return nil, err
	}
	if given := m["allowCreate"]; given != nil {
		allow, ok := given.(bool)
		if !ok {
			return nil, fmt.Errorf("%s.allowCreate: %v is neither true nor false", field, given)
		}
		fact.AllowCreate = allow
	}
	fact.ValuesMap, err = each(field+".valuesMap", m["valuesMap"], labelValue)
	return fact, err
}

func labelValue(field string, m map[string]any) (*ringfencev1.LabelValueMapping, error) {
	from, err := text(field+".from", m["from"], false)
	if err != nil {
		return nil, err
	}
	to, err := text(field+".to", m["to"], false)
	return &ringfencev1.LabelValueMapping{From: from, To: to}, err
}

// each reads a list of objects, which may be absent.
func each[T any](field string, value any, read func(string, map[string]any) (T, error)) ([]T, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: it is not a list", field)
	}
	var out []T
	for i, item := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		m, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: it is not an object", at)
		}
		one, err := read(at, m)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// text reads a string, which may be absent unless it is needed.
func text(field string, value any, needed bool) (string, error) {
	s, ok := value.(string)
	switch {
	case value != nil && !ok:
		return "", fmt.Errorf("%s: %v is not a string", field, value)
	case s == "" && needed:
		return "", fmt.Errorf("%s: it is empty", field)
	}
	return s, nil
}
