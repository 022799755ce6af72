package kubefact

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Observer makes facts of objects. The zero value keeps Illumio's own annotations and no others. It never changes, so any
// number of goroutines may use it. What one observer trimmed, only an observer of the same annotations may observe.
type Observer struct {
	// allowed are the annotations that are kept beside Illumio's own.
	allowed map[string]struct{}
}

// NewObserver gives an observer that keeps annotations of these full names beside Illumio's own. What the API server would
// not take as the name of an annotation is an error that quotes it.
func NewObserver(annotations []string) (Observer, error) {
	ob := Observer{allowed: make(map[string]struct{}, len(annotations))}
	for _, name := range annotations {
		// The API server holds annotations to the rule of labels, but for upper case, which their prefixes may have.
		if wrong := validation.IsQualifiedName(strings.ToLower(name)); len(wrong) > 0 {
			return Observer{}, fmt.Errorf("%q cannot be the name of an annotation: %s", name, strings.Join(wrong, "; "))
		}
		ob.allowed[name] = struct{}{}
	}
	return ob, nil
}

// annotations gives those of them that are kept, nil when there is none. Of several maps the later ones win.
func (ob Observer) annotations(from ...map[string]string) map[string]string {
	var kept map[string]string
	for _, a := range from {
		for key, value := range a {
			if !ob.keeps(key) {
				continue
			}
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}

func (ob Observer) keeps(key string) bool {
	if strings.HasPrefix(key, "com.illumio.") || strings.HasPrefix(key, "meta.illumio.") {
		return true
	}
	_, allowed := ob.allowed[key]
	return allowed
}
