// Command reachability says which workloads may connect, from the facts of an exported log (its argument) and nothing
// else. It shares no code with the engine, so that the two can disagree. All that it knows of policy is the fifty lines of
// check.go: what the demonstration uses, which is labels that profiles assign or annotations ask for, scopes, rules
// between labels of which an end must carry all, on single TCP ports, in place or by service, enforced in full or not.
//
// Standard input is a JSON array of {"from":"namespace/workload","to":"namespace/workload","port":N}; the same array with
// "allowed" comes out. A port of the Service of to's name stands for the port behind it.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strconv"
)

func main() {
	pairs, last := []map[string]any{}, map[string]any{} // the last fact of every subject
	file, err := os.Open(os.Args[len(os.Args)-1])
	for lines := json.NewDecoder(file); err == nil && lines.More(); {
		var line any
		err = lines.Decode(&line)
		last[text(line, "subject")] = at(line, "fact")
	}
	if err != nil || json.NewDecoder(os.Stdin).Decode(&pairs) != nil {
		log.Fatal("usage: reachability LOG <PAIRS.json: ", err)
	}
	f := index(last)
	for _, pair := range pairs {
		pair["allowed"] = f.allowed(text(pair, "from"), text(pair, "to"), at(pair, "port"))
	}
	if err := json.NewEncoder(os.Stdout).Encode(pairs); err != nil {
		log.Fatal(err)
	}
}

// index names the bodies of the last facts by kind, and takes from the last manifest what is in force.
func index(last map[string]any) facts {
	f := facts{}
	for _, fact := range last {
		f["label "+text(fact, "label", "href")] = at(fact, "label")
		f["profile "+text(fact, "containerWorkloadProfile", "namespace")] = at(fact, "containerWorkloadProfile")
		f["service "+name(fact, "service")] = at(fact, "service")
		f["workload "+name(fact, "kubernetesWorkload")] = at(fact, "kubernetesWorkload")
		if at(fact, "pod", "controller") == nil { // a bare pod is a workload of its own
			f["workload "+name(fact, "pod")] = at(fact, "pod")
		}
	}
	var sets []any
	chunks, _ := at(last["facts.pce.provisioned.0"], "provisioned", "chunks").(float64)
	for chunk := range int(chunks) {
		for _, entry := range list(last["facts.pce.provisioned."+strconv.Itoa(chunk)], "provisioned", "entries") {
			object := at(last["facts.pce.object."+text(entry, "sha256")], "pceObject")
			f["ports "+text(entry, "href")] = at(object, "service", "ports")
			sets = append(sets, at(object, "ruleSet"))
		}
	}
	f["rule sets"] = sets
	return f
}

func name(fact any, kind string) string {
	return text(fact, kind, "namespace") + "/" + text(fact, kind, "name")
}
