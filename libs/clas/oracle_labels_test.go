package clas_test

import (
	"maps"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Section 2: labels.

// attributes are the labels of something, by key, with the sources of each.
type attributes struct {
	labels, sources map[string]string
	// mapped says that the LabelMap gave at least one.
	mapped bool
}

func (a attributes) put(key, value, source string) {
	if _, there := a.labels[key]; !there {
		a.labels[key], a.sources[key] = value, source
	}
}

func noAttributes() attributes {
	return attributes{labels: map[string]string{}, sources: map[string]string{}}
}

// label gives key and value of a label that exists.
func (o *oracle) label(href string) (key, value string, exists bool) {
	for _, l := range o.labels {
		if l.GetHref() == href {
			return l.GetKey(), l.GetValue(), true
		}
	}
	return "", "", false
}

// keyOf gives the key of a label that exists or once did.
func (o *oracle) keyOf(href string) (key string, known bool) {
	if key, _, exists := o.label(href); exists {
		return key, true
	}
	for _, l := range o.buried {
		if l.GetHref() == href {
			return l.GetKey(), true
		}
	}
	return "", false
}

func (o *oracle) exists(key, value string) bool {
	return slices.ContainsFunc(o.labels, func(l *pb.Label) bool { return l.GetKey() == key && l.GetValue() == value })
}

// dimension tells whether the key exists.
func (o *oracle) dimension(key string) bool {
	if slices.Contains([]string{"role", "app", "env", "loc"}, key) {
		return true
	}
	return slices.ContainsFunc(o.labels, func(l *pb.Label) bool { return l.GetKey() == key }) ||
		slices.ContainsFunc(o.facts, func(f logged) bool { d := f.fact.GetLabelDimension(); return d != nil && d.GetKey() == key })
}

// hrefLabels reads a list of labels; of two of one key the first that exists counts.
func (o *oracle) hrefLabels(hrefs []string, source string, into attributes) {
	for _, href := range hrefs {
		if key, value, exists := o.label(href); exists {
			into.put(key, value, source)
		}
	}
}

// labelMap is the LabelMap default.
func (o *oracle) labelMap() *pb.LabelMap {
	return o.last[k8s("labelmap", "", "default")].fact.GetLabelMap()
}

// mapLabels lets the entries of a LabelMap give labels, in their order.
func (o *oracle) mapLabels(entries []*pb.LabelMapping, kubernetes map[string]string, into attributes) {
	for _, entry := range entries {
		value := kubernetes[entry.GetFromKey()]
		for _, v := range entry.GetValuesMap() {
			if v.GetFrom() == value && carriesKey(kubernetes, entry.GetFromKey()) {
				value = v.GetTo()
				break
			}
		}
		if value != "" && o.dimension(entry.GetToKey()) && (entry.GetAllowCreate() || o.exists(entry.GetToKey(), value)) {
			into.put(entry.GetToKey(), value, "label-map")
		}
	}
}

func carriesKey(labels map[string]string, key string) bool { _, there := labels[key]; return there }

// unpaired tells whether the cluster leaves the console: then nothing in it is managed.
func (o *oracle) unpaired() bool { return o.settings.GetClusterMode() == "unpair" }

// profile is the latest of the namespace, else the latest default one.
func (o *oracle) profile(namespace string) *pb.ContainerWorkloadProfile {
	if o.unpaired() {
		return &pb.ContainerWorkloadProfile{}
	}
	for _, want := range []string{namespace, ""} {
		best := latest(o.facts, func(f logged) bool {
			p := f.fact.GetContainerWorkloadProfile()
			return p != nil && p.GetNamespace() == want
		})
		if best.fact != nil {
			return best.fact.GetContainerWorkloadProfile()
		}
	}
	return &pb.ContainerWorkloadProfile{}
}

// managed tells whether the namespace's profile is.
func (o *oracle) managed(namespace string) bool { return o.profile(namespace).GetManaged() }

// describe gives an object of a managed namespace its labels.
func (o *oracle) describe(namespace string, kubernetes, annotations map[string]string) attributes {
	profile, out := o.profile(namespace), noAttributes()
	o.mapLabels(o.labelMap().GetWorkloadLabelMap(), kubernetes, out)
	out.mapped = len(out.labels) > 0
	for _, l := range profile.GetLabels() {
		if key, value, exists := o.label(l.GetAssignment()); exists && key == l.GetKey() {
			out.put(key, value, "profile")
		}
	}
	for name, value := range annotations {
		key, ok := strings.CutPrefix(name, "com.illumio.")
		if ok && o.exists(key, value) && o.open(profile, key, value) {
			out.put(key, value, "annotation")
		}
	}
	return out
}

// open tells whether the profile lets annotations choose the label.
func (o *oracle) open(profile *pb.ContainerWorkloadProfile, key, value string) bool {
	for _, l := range profile.GetLabels() {
		if l.GetKey() != key {
			continue
		}
		if l.GetAssignment() != "" {
			return false
		}
		if l.GetRestricted() {
			return slices.ContainsFunc(l.GetRestriction(), func(href string) bool {
				k, v, exists := o.label(href)
				return exists && k == key && v == value
			})
		}
	}
	return true
}

// workloadOf names the workload of a pod: kind, in lower case, and name.
func workloadOf(p *pb.Pod) (kind, name string) {
	if c := p.GetController(); c != nil {
		return strings.ToLower(c.GetKind()), c.GetName()
	}
	return "pod", p.GetName()
}

// ofPod gives the labels of a pod, from its controller's fact where there is one.
func (o *oracle) ofPod(p *pb.Pod) attributes {
	kind, name := workloadOf(p)
	if p.GetController() != nil {
		if w := o.last[k8s(kind, p.GetNamespace(), name)].fact.GetKubernetesWorkload(); w != nil {
			return o.remember(kind+"/"+p.GetNamespace()+"/"+name, p.GetNamespace(), w.GetLabels(), w.GetAnnotations())
		}
	}
	return o.remember("pod/"+p.GetNamespace()+"/"+p.GetName(), p.GetNamespace(), p.GetLabels(), p.GetAnnotations())
}

func (o *oracle) remember(object, namespace string, kubernetes, annotations map[string]string) attributes {
	out, known := o.memory.objects[object]
	if !known {
		out = o.describe(namespace, kubernetes, annotations)
		o.memory.objects[object] = out
	}
	return out
}

// ofService gives the labels of a Service: its own, or its backends' if it asks for none and they all agree.
func (o *oracle) ofService(s *pb.Service) attributes {
	out, known := o.memory.labelled[s]
	if known {
		return out
	}
	out = o.describe(s.GetNamespace(), s.GetLabels(), s.GetAnnotations())
	if !asksForLabels(s.GetAnnotations()) && !out.mapped {
		if agreed := o.agreed(o.backends(s)); agreed != nil {
			out = noAttributes()
			for key, value := range agreed {
				out.put(key, value, "backends")
			}
		}
	}
	o.memory.labelled[s] = out
	return out
}

func asksForLabels(annotations map[string]string) bool {
	for name := range annotations {
		if strings.HasPrefix(name, "com.illumio.") {
			return true
		}
	}
	return false
}

// agreed is the one label set of the pods, nil where there is none or more than one.
func (o *oracle) agreed(pods []*pb.Pod) map[string]string {
	var agreed map[string]string
	for _, p := range pods {
		labels := o.ofPod(p).labels
		if agreed != nil && !maps.Equal(agreed, labels) {
			return nil
		}
		agreed = labels
	}
	return agreed
}

// host is the workload of the console that a node runs on, or nil.
func (o *oracle) host(n *pb.Node) *pb.PceWorkload {
	return latest(o.machines, func(f logged) bool {
		return n.GetMachineId() != "" && f.fact.GetPceWorkload().GetMachineId() == n.GetMachineId()
	}).fact.GetPceWorkload()
}

// pairing is the pairing profile that nodes have before the console knows them, or nil.
func (o *oracle) pairing() *pb.PairingProfile {
	return latest(o.facts, func(f logged) bool { return f.fact.GetPairingProfile().GetEnabled() }).fact.GetPairingProfile()
}

// nodeManaged tells whether a node is managed, and in which mode.
func (o *oracle) nodeManaged(n *pb.Node) (pb.EnforcementMode, bool) {
	if o.unpaired() {
		return specified(pb.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED), false
	}
	if host := o.host(n); host != nil {
		return specified(host.GetEnforcementMode()), true
	}
	pairing := o.pairing()
	return specified(pairing.GetEnforcementMode()), pairing != nil
}

func specified(mode pb.EnforcementMode) pb.EnforcementMode {
	if mode == pb.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		return pb.EnforcementMode_ENFORCEMENT_MODE_IDLE
	}
	return mode
}

func (o *oracle) ofNode(n *pb.Node) attributes {
	out := noAttributes()
	o.mapLabels(o.labelMap().GetNodeLabelMap(), n.GetLabels(), out)
	if host := o.host(n); host != nil {
		o.hrefLabels(host.GetLabels(), "workload", out)
	} else {
		o.hrefLabels(o.pairing().GetLabels(), "pairing profile", out)
	}
	return out
}

// hosts gives the nodes that run on a workload of the console.
func (o *oracle) hosts(m *pb.PceWorkload) []*pb.Node {
	var out []*pb.Node
	for _, f := range o.nodes {
		if n := f.fact.GetNode(); o.host(n) == m {
			out = append(out, n)
		}
	}
	return out
}

func (o *oracle) ofHrefs(hrefs []string) attributes {
	out := noAttributes()
	o.hrefLabels(hrefs, "workload", out)
	return out
}
