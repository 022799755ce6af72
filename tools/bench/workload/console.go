package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	organisation = "/orgs/1/"
	active       = organisation + "sec_policy/active/"
	// everyPort is the built-in service of the console, "All Services".
	everyPort = active + "services/1"
	// chunkBytes bounds a chunk of the manifest as the bridge to the console does.
	chunkBytes = 400 << 10
)

// console says what the console of a cluster would say.
type console struct {
	cluster *Cluster
	labels  map[Label]int
	lists   map[string]int
	version int64
	// entries is the manifest, by href.
	entries map[string]string
}

func newConsole(c *Cluster) *console {
	return &console{cluster: c, labels: map[Label]int{}, lists: map[string]int{}, entries: map[string]string{}}
}

// label gives a label's href, and makes the label where it is new.
func (c *console) label(l Label) string {
	n, known := c.labels[l]
	if !known {
		n = len(c.labels) + 1
		c.labels[l] = n
	}
	return labelHref(n)
}

func labelHref(n int) string { return fmt.Sprintf("%slabels/%d", organisation, n) }

// labelFacts gives all labels in the order in which they were made.
func (c *console) labelFacts() []*ringfencev1.Label {
	out := make([]*ringfencev1.Label, len(c.labels))
	for l, n := range c.labels {
		out[n-1] = &ringfencev1.Label{Href: labelHref(n), Key: l.Key, Value: l.Value}
	}
	return out
}

// profile is the container workload profile of a namespace that assigns the labels.
func (c *console) profile(number int, assigned []Label) *ringfencev1.ContainerWorkloadProfile {
	name := c.cluster.Namespaces[number].Name
	p := &ringfencev1.ContainerWorkloadProfile{
		Href: organisation + "container_clusters/" + uidOf(-1) + "/container_workload_profiles/" + uidOf(-2-number),
		Name: name, Namespace: name, Managed: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
	}
	for _, l := range assigned {
		p.Labels = append(p.Labels, &ringfencev1.ProfileLabel{Key: l.Key, Assignment: c.label(l)})
	}
	return p
}

// ruleSet is the rule set of the given number for policies of one scope.
func (c *console) ruleSet(number int, policies []Policy) *ringfencev1.RuleSet {
	set := &ringfencev1.RuleSet{
		Href: fmt.Sprintf("%srule_sets/%d", active, number+1), Name: fmt.Sprintf("policy-%d", number+1), Enabled: true,
		Scopes: []*ringfencev1.Scope{{Entries: c.actors(c.cluster.scope(policies[0]))}},
	}
	for _, p := range policies {
		for _, r := range p.Rules {
			href := fmt.Sprintf("%s/sec_rules/%d", set.GetHref(), len(set.GetRules())+1)
			set.Rules = append(set.Rules, c.rule(href, r))
		}
	}
	return set
}

// scope is what a rule set for the policy is narrowed to: the namespace's name or, where that is no label, its labels.
func (c *Cluster) scope(p Policy) []Label {
	if p.Namespace == Whole {
		return nil
	}
	n := c.Namespaces[p.Namespace]
	if n.Unnamed {
		return n.Labels
	}
	return []Label{{NameKey, n.Name}}
}

func (c *console) rule(href string, r Rule) *ringfencev1.Rule {
	out := &ringfencev1.Rule{Href: href, Enabled: true, Consumers: c.side(r.Consumers), Providers: c.side(r.Providers),
		UnscopedConsumers: r.Everywhere}
	if r.Prefix != "" {
		out.Providers = []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_IpList{IpList: c.list(r.Prefix)}}}
	}
	service := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Href{Href: everyPort}}
	if r.Protocol != 0 {
		service.Service = &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: r.Protocol, Port: r.Port}}
	}
	out.Services = []*ringfencev1.IngressService{service}
	return out
}

// side names the labels, or all workloads where there are none.
func (c *console) side(labels []Label) []*ringfencev1.Actor {
	if len(labels) == 0 {
		return []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}}
	}
	return c.actors(labels)
}

func (c *console) actors(labels []Label) []*ringfencev1.Actor {
	var out []*ringfencev1.Actor
	for _, l := range labels {
		out = append(out, &ringfencev1.Actor{Actor: &ringfencev1.Actor_Label{Label: c.label(l)}})
	}
	return out
}

// list gives the href of the IP list of one prefix, and makes it where it is new.
func (c *console) list(prefix string) string {
	if c.lists[prefix] == 0 {
		c.lists[prefix] = len(c.lists) + 1
	}
	return fmt.Sprintf("%sip_lists/%d", active, c.lists[prefix])
}

// builtIn gives the objects beside rule sets: the service for all ports and the IP lists.
func (c *console) builtIn() []*ringfencev1.PceObject {
	out := []*ringfencev1.PceObject{{Object: &ringfencev1.PceObject_Service{Service: &ringfencev1.PceService{
		Href: everyPort, Name: "All Services", Ports: []*ringfencev1.PortRange{{Protocol: -1}}}}}}
	for _, prefix := range slices.Sorted(maps.Keys(c.lists)) {
		out = append(out, &ringfencev1.PceObject{Object: &ringfencev1.PceObject_IpList{IpList: &ringfencev1.IpList{
			Href: c.list(prefix), Name: prefix, Ranges: []*ringfencev1.IpRange{{FromIp: prefix}}}}})
	}
	return out
}

// object gives an object its place in the manifest and its fact.
func (c *console) object(href string, o *ringfencev1.PceObject) (subject string, fact *ringfencev1.Fact) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("%s: encode: %v", href, err)) // only text that is no UTF-8 gets here, and there is none
	}
	sum := sha256.Sum256(encoded)
	c.entries[href] = hex.EncodeToString(sum[:])
	return objectSubject(c.entries[href]), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: o}}
}

// manifest gives the next version's chunks, as the bridge splits them.
func (c *console) manifest() []*ringfencev1.Provisioned {
	c.version++
	var chunks []*ringfencev1.Provisioned
	size := chunkBytes
	for _, href := range slices.Sorted(maps.Keys(c.entries)) {
		entry := &ringfencev1.ManifestEntry{Href: href, Sha256: c.entries[href]}
		if size += proto.Size(entry) + 4; size > chunkBytes {
			chunks, size = append(chunks, &ringfencev1.Provisioned{Version: c.version, Chunk: uint32(len(chunks))}), 0
		}
		last := chunks[len(chunks)-1]
		last.Entries = append(last.Entries, entry)
	}
	for _, chunk := range chunks {
		chunk.Chunks = uint32(len(chunks))
	}
	return chunks
}
