package console

import (
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// kind describes a collection of the API that follows the common pattern: list, create, read, update, delete.
type kind struct {
	table string
	// event begins the names of the kind's events, "label" of "label.create".
	event string
	// uuids tells whether ids are UUIDs rather than integers.
	uuids bool
	// exact and substring are the fields that a list can be filtered by.
	exact, substring []string
	// check validates a document that is to be stored under id; before is what is there now, nil for a new object.
	check func(v *validation, id string, doc, before document) (document, error)
	// inUse refuses the removal of an object that others refer to.
	inUse bool
}

// unversioned kinds act at once.
var (
	labels = kind{
		table: tableLabels, event: "label", exact: []string{"key", "external_data_set", "external_data_reference"},
		substring: []string{"value"}, check: checkLabel, inUse: true,
	}
	clusters = kind{table: tableClusters, event: "container_cluster", uuids: true, substring: []string{"name"}, check: checkCluster}
	profiles = kind{
		table: tableProfiles, event: "container_workload_profile", uuids: true,
		exact: []string{"namespace", "enforcement_mode"}, substring: []string{"name"}, check: checkProfile,
	}
	pairing = kind{table: tablePairing, event: "pairing_profile", substring: []string{"name"}, check: checkPairing}
)

// versioned kinds exist as draft and as active.
var (
	ipLists = kind{
		table: tableIPLists, event: "ip_list", exact: []string{"external_data_set", "external_data_reference"},
		substring: []string{"name", "description"}, check: checkIPList, inUse: true,
	}
	services = kind{
		table: tableServices, event: "service", exact: []string{"external_data_set", "external_data_reference"},
		substring: []string{"name", "description"}, check: checkService, inUse: true,
	}
	ruleSets = kind{
		table: tableRuleSets, event: "rule_set", exact: []string{"external_data_set", "external_data_reference"},
		substring: []string{"name", "description"}, check: checkRuleSet,
	}
	rules     = kind{table: tableRules, event: "sec_rule", check: checkRule}
	denyRules = kind{table: tableDenyRules, event: "deny_rule", check: checkRule}
)

func (k kind) newID(t *transaction) string {
	if k.uuids {
		return newUUID()
	}
	return t.number()
}

// dimensions are the keys that labels may have. They are built in.
var dimensions = []pce.LabelDimension{
	{Href: org + "/label_dimensions/role", Key: "role", DisplayName: "Role"},
	{Href: org + "/label_dimensions/app", Key: "app", DisplayName: "Application"},
	{Href: org + "/label_dimensions/env", Key: "env", DisplayName: "Environment"},
	{Href: org + "/label_dimensions/loc", Key: "loc", DisplayName: "Location"},
}

func isDimension(key string) bool {
	for _, d := range dimensions {
		if d.Key == key {
			return true
		}
	}
	return false
}

// org is the console's one organisation.
const org = "/orgs/1"

// Hrefs of objects.
func hrefOf(table, id, owner string) string {
	kind := strings.TrimPrefix(strings.TrimPrefix(table, draftTables), activeTables)
	base := org + "/"
	switch {
	case strings.HasPrefix(table, draftTables):
		base = org + draftPart
	case strings.HasPrefix(table, activeTables):
		base = org + activePart
	}
	switch kind {
	case tableUsers:
		return "/users/" + id
	case tableKeys:
		return "/users/" + owner + "/api_keys/" + id
	case tableRules, tableDenyRules:
		return base + tableRuleSets + "/" + owner + "/" + kind + "/" + id
	case tableProfiles:
		return base + tableClusters + "/" + owner + "/" + kind + "/" + id
	default:
		return base + kind + "/" + id
	}
}

// tableOf is the inverse of hrefOf for the objects that others may refer to.
func tableOf(href string) (table, id string, ok bool) {
	rest, ok := strings.CutPrefix(href, org+"/")
	if !ok {
		return "", "", false
	}
	prefix := ""
	for part, tables := range map[string]string{"sec_policy/draft/": draftTables, "sec_policy/active/": activeTables} {
		if after, found := strings.CutPrefix(rest, part); found {
			rest, prefix = after, tables
		}
	}
	table, id, ok = strings.Cut(rest, "/")
	return prefix + table, id, ok && id != "" && !strings.Contains(id, "/")
}
