package main

import (
	"path"
	"slices"
)

// facts holds what the log says last, by kind and name.
type facts map[string]any

// at follows keys into JSON that may not be there; list and text give what they find as such.
func at(v any, keys ...string) any {
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}
func list(v any, keys ...string) []any  { l, _ := at(v, keys...).([]any); return l }
func text(v any, keys ...string) string { t, _ := at(v, keys...).(string); return t }

// carry says whether a workload has every label that actors name: its profile assigns it, or leaves it to the annotation.
func (f facts) carry(workload string, actors []any) bool {
	profile := f["profile "+path.Dir(workload)]
	return at(profile, "managed") == true && !slices.ContainsFunc(actors, func(actor any) bool {
		label := f["label "+text(actor, "label")]
		for _, fixed := range list(profile, "labels") {
			if at(fixed, "key") == at(label, "key") {
				return at(fixed, "assignment") != at(label, "href")
			}
		}
		return label == nil || at(f["workload "+workload], "annotations", "com.illumio."+text(label, "key")) != at(label, "value")
	})
}

// allowed says whether rules allow what either namespace enforces in full. The port of a Service stands for its target.
func (f facts) allowed(from, to string, port any) bool {
	for _, p := range list(f["service "+to], "ports") {
		if at(p, "port") == port {
			port = at(p, "targetPort")
		}
	}
	serves := func(s any) bool { // in place, or by the service that it refers to
		return slices.ContainsFunc(append(list(f["ports "+text(s, "href")]), at(s, "port")), func(p any) bool { return at(p, "port") == port })
	}
	for _, set := range list(f["rule sets"]) {
		for _, scope := range list(set, "scopes") {
			for _, rule := range list(set, "rules") {
				scoped := f.carry(to, list(scope, "entries")) && (at(rule, "unscopedConsumers") == true || f.carry(from, list(scope, "entries")))
				if scoped && at(set, "enabled") == true && at(rule, "enabled") == true && slices.ContainsFunc(list(rule, "services"), serves) &&
					f.carry(from, list(rule, "consumers")) && f.carry(to, list(rule, "providers")) {
					return true
				}
			}
		}
	}
	return text(f["profile "+path.Dir(from)], "enforcementMode") != "ENFORCEMENT_MODE_FULL" &&
		text(f["profile "+path.Dir(to)], "enforcementMode") != "ENFORCEMENT_MODE_FULL"
}
