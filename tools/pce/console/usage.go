package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// usersOf are the objects that refer to href: drafts first, then what acts at once, then what is active.
func (s *state) usersOf(href string) []key {
	var users []key
	for user := range s.index.users[toDraft(href)] {
		users = append(users, user)
	}
	slices.SortFunc(users, func(a, b key) int {
		return cmp.Or(cmp.Compare(rank(a.Table), rank(b.Table)), strings.Compare(a.Table, b.Table),
			cmp.Compare(s.get(a.Table, a.ID).number, s.get(b.Table, b.ID).number), strings.Compare(a.ID, b.ID))
	})
	return users
}

func rank(table string) int {
	switch {
	case strings.HasPrefix(table, draftTables):
		return 0
	case strings.HasPrefix(table, activeTables):
		return 2
	default:
		return 1
	}
}

// checkUnused refuses the removal of an object that others refer to. What takes effect at once must not be missed by the
// active policy either; what is only a draft yet must not be missed by drafts, and by what acts at once.
func (s *state) checkUnused(k kind, href string, atOnce bool) error {
	if !k.inUse {
		return nil
	}
	for _, user := range s.usersOf(href) {
		r := s.get(user.Table, user.ID)
		switch {
		case r.Deleted, !atOnce && rank(user.Table) == 2:
		case k.table == tableMachines && rank(user.Table) == 1: // its bindings go with it
		default:
			return refuse(http.StatusNotAcceptable, k.event+"_in_use", "%s is used by %s", href, hrefOf(user.Table, user.ID, r.Owner))
		}
	}
	return nil
}

// withUsage adds, where ?usage=true asks for it, which kinds of objects use a label, a label group or a label dimension.
func (at place) withUsage(s *state, id string, r request, out rendered) rendered {
	if r.URL.Query().Get("usage") != "true" {
		return out
	}
	switch at.kind.table {
	case tableDimensions:
		out["usage"] = s.dimensionUse(s.get(at.table, id).Doc.text("key"))
	case tableLabels, tableGroups:
		out["usage"] = s.usage(hrefOf(at.table, id, at.owner))
	}
	return out
}

// usageNames are the words of a usage for each kind of user.
var usageNames = map[string]string{
	tableRuleSets: "ruleset", tableRules: "rule", tableDenyRules: "deny_rule", tableGroups: "label_group", tableVirtual: "virtual_services",
	tableMachines: "workload", tablePairing: "pairing_profile", tableProfiles: "container_workload_profile",
	tableBoundaries: "enforcement_boundary", tableFirewall: "firewall_settings",
}

func (s *state) usage(href string) map[string]bool {
	usage := map[string]bool{}
	for _, name := range usageNames {
		usage[name] = false
	}
	for user := range s.index.users[toDraft(href)] {
		if name, known := usageNames[kindOf(user.Table)]; known {
			usage[name] = true
		}
	}
	return usage
}
