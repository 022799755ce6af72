package console

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// builtinDimensions are the keys that every organisation has. Their ids are the keys.
var builtinDimensions = []struct{ key, name, initial string }{
	{"role", "Role", "R"}, {"app", "Application", "A"}, {"env", "Environment", "E"}, {"loc", "Location", "L"},
}

// builtIn puts what exists before the first edit: the built-in label dimensions and the firewall settings.
func (s *state) builtIn() {
	for i, d := range builtinDimensions {
		doc := document{}.set("key", d.key).set("display_name", d.name).
			set("display_info", map[string]string{"icon": d.key, "initial": d.initial, "display_name_plural": d.name + "s"})
		s.put(tableDimensions, d.key, builtInRecord(time.UnixMilli(int64(i)).UTC(), doc))
	}
	settings := builtInRecord(time.UnixMilli(0).UTC(), document{}.otherwise(firewallDefaults))
	s.put(draftTables+tableFirewall, firewallID, settings)
	active := *settings
	s.put(activeTables+tableFirewall, firewallID, &active)
	s.history[key{tableFirewall, firewallID}] = []revision{{0, &active}}
}

func builtInRecord(at time.Time, doc document) *record {
	return &record{Doc: doc, CreatedAt: at, UpdatedAt: at, CreatedBy: builtinAuthor, UpdatedBy: builtinAuthor}
}

// keys are the keys that labels may have, in the order of their creation.
func (s *state) keys() []string {
	ids := s.ids(tableDimensions)
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = s.get(tableDimensions, id).Doc.text("key")
	}
	return keys
}

func (s *state) isDimension(key string) bool {
	return len(s.index.found[lookupOf(tableDimensions, &record{Doc: document{}.set("key", key)}, []string{"key"})]) > 0
}

// keyForm is what a key may look like: it becomes a part of annotations' names.
var keyForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$`)

func checkDimension(v *validation, id string, doc, before document) (document, error) {
	var d pce.LabelDimension
	if err := doc.into(&d); err != nil {
		return nil, err
	}
	switch {
	case !keyForm.MatchString(d.Key):
		return nil, invalid("key", "%q is not 1 to 64 letters, digits, '_', '.' and '-'", d.Key)
	case before != nil && before.text("key") != d.Key:
		return nil, invalid("key", "cannot be changed")
	case strings.TrimSpace(d.DisplayName) == "":
		return nil, invalid("display_name", "must not be empty")
	}
	return doc, v.taken(id, doc, "key")
}

// dimensionUse tells which kinds have objects of a key.
func (s *state) dimensionUse(key string) map[string]bool {
	doc, use := document{}.set("key", key), map[string]bool{"labels": false, "label_groups": false}
	for _, table := range []string{tableLabels, draftTables + tableGroups, activeTables + tableGroups} {
		use[kindOf(table)] = use[kindOf(table)] || len(s.index.found[lookupOf(table, &record{Doc: doc}, []string{"key"})]) > 0
	}
	return use
}

// checkDimensionGone refuses the removal of a dimension that is built in or in use.
func (s *state) checkDimensionGone(id string, r *record) error {
	key := r.Doc.text("key")
	if id == key { // those of the others are UUIDs
		return refuse(http.StatusNotAcceptable, "label_dimension_is_built_in", "%s of key %q is built in", hrefOf(tableDimensions, id, ""), key)
	}
	for kind, used := range s.dimensionUse(key) {
		if used {
			return refuse(http.StatusNotAcceptable, "label_dimension_in_use", "%s: there are %s of key %q", hrefOf(tableDimensions, id, ""), kind, key)
		}
	}
	return nil
}
