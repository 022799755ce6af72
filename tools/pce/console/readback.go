package console

import (
	"encoding/json"
	"reflect"
)

// ruleFields are the fields of a rule set's rendering that hold its rules.
var ruleFields = []string{"rules", "deny_rules"}

// withoutReadRules gives a change of a rule set without the rules that its client read and sends back as they are; other
// rules stay in it, to be refused: they are changed one by one.
func (at place) withoutReadRules(s *state, id string, change document) document {
	if at.kind.table != tableRuleSets || s.get(at.table, id) == nil {
		return change
	}
	var shown rendered
	for _, field := range ruleFields {
		if len(change[field]) == 0 {
			continue
		}
		if shown == nil {
			shown = s.render(at.table, id, nil)
		}
		if sameJSON(change[field], shown[field]) {
			change = change.without([]string{field})
		}
	}
	return change
}

// sameJSON tells whether a value is sent as it was shown.
func sameJSON(sent json.RawMessage, shown any) bool {
	encoded, err := json.Marshal(shown)
	if err != nil {
		return false
	}
	var a, b any
	return json.Unmarshal(sent, &a) == nil && json.Unmarshal(encoded, &b) == nil && reflect.DeepEqual(a, b)
}
