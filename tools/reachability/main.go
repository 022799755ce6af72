// Command reachability says which workloads may connect, from the lines that ringfence facts prints and nothing else. It
// shares no code with the engine, and of policy it knows what fifty lines hold, which is what the demonstration uses: labels that
// profiles assign or annotations ask for, scopes, rules between labels of which an end must carry all, single ports, and
// full enforcement everywhere.
//
//	reachability '[{"from":"namespace/workload","to":"namespace/workload","port":N}]' < FACTS
//
// prints the same array with "allowed". It is for checking the demonstration, not for use on any other policy.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

type facts map[string]any // the last fact of every subject, and the profile of every namespace

func at(v any, keys ...string) any { // follows keys into JSON that may not be there
	if object, _ := v.(map[string]any); len(keys) > 0 {
		return at(object[keys[0]], keys[1:]...)
	}
	return v
}
func list(v any, keys ...string) []any { l, _ := at(v, keys...).([]any); return l }

// carries says whether a workload has all labels that actors name, by its profile or else by its annotation.
func (f facts) carries(workload string, actors []any) bool {
	return !slices.ContainsFunc(actors, func(actor any) bool {
		label := at(f["facts.pce.label."+path.Base(fmt.Sprint(at(actor, "label")))], "label")
		for _, fixed := range list(f["profile of "+path.Dir(workload)], "labels") {
			if at(fixed, "key") == at(label, "key") {
				return at(fixed, "assignment") != at(label, "href")
			}
		}
		key, subject := fmt.Sprint("com.illumio.", at(label, "key")), strings.Replace(workload, "/", ".", 1)
		return label == nil || at(f["facts.k8s.deployment."+subject], "kubernetesWorkload", "annotations", key) != at(label, "value") &&
			at(f["facts.k8s.pod."+subject], "pod", "annotations", key) != at(label, "value")
	})
}

// allowed says whether a rule of the provisioned version lets from reach to on a port.
func (f facts) allowed(from, to string, port any) bool {
	ports, sets := map[any][]any{}, []any{}
	for _, entry := range list(f["facts.pce.provisioned.0"], "provisioned", "entries") {
		object := at(f[fmt.Sprint("facts.pce.object.", at(entry, "sha256"))], "pceObject")
		ports[at(entry, "href")], sets = list(object, "service", "ports"), append(sets, at(object, "ruleSet"))
	}
	on := func(p any) bool { return at(p, "port") == port }
	serves := func(s any) bool { return on(at(s, "port")) || slices.ContainsFunc(ports[at(s, "href")], on) }
	return slices.ContainsFunc(sets, func(set any) bool {
		return slices.ContainsFunc(list(set, "rules"), func(rule any) bool {
			return slices.ContainsFunc(list(set, "scopes"), func(scope any) bool {
				return f.carries(to, append(list(rule, "providers"), list(scope, "entries")...)) && f.carries(from, list(rule, "consumers")) &&
					(at(rule, "unscopedConsumers") == true || f.carries(from, list(scope, "entries"))) && slices.ContainsFunc(list(rule, "services"), serves)
			})
		})
	})
}

func main() {
	f, line, pairs := facts{}, any(nil), []map[string]any{}
	for lines := json.NewDecoder(os.Stdin); lines.Decode(&line) == nil; {
		f[fmt.Sprint(at(line, "subject"))] = at(line, "fact")
		f[fmt.Sprint("profile of ", at(line, "fact", "containerWorkloadProfile", "namespace"))] = at(line, "fact", "containerWorkloadProfile")
	}
	fmt.Fprint(os.Stderr, len(f), " facts; pairs: ", json.Unmarshal([]byte(os.Args[1]), &pairs), "\n")
	for _, pair := range pairs {
		pair["allowed"] = f.allowed(fmt.Sprint(pair["from"]), fmt.Sprint(pair["to"]), pair["port"])
	}
	_ = json.NewEncoder(os.Stdout).Encode(pairs) // whoever reads it sees what is missing
}
