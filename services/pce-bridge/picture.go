package pcebridge

import (
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// picture is all that the bridge takes from the console, of one moment.
type picture struct {
	*policy
	dimensions []*ringfencev1.LabelDimension
	labels     []*ringfencev1.Label
	workloads  []*ringfencev1.PceWorkload
	profiles   []*ringfencev1.ContainerWorkloadProfile
	// pairing is the profile of the cluster's nodes, nil where there is none.
	pairing *ringfencev1.PairingProfile
	// acknowledged are the Kubernetes workloads that the console knows, if it was asked; allAcknowledged says that the list
	// replaces what was known before.
	acknowledged    []*ringfencev1.AcknowledgedWorkload
	allAcknowledged bool
	// notes say what could not be taken, for people, beside the warnings of the policy.
	notes []string
}

// unversioned is the fact of an object that acts at once in the console.
type unversioned struct {
	kind, subject string
	fact          *ringfencev1.Fact
}

// unversioned lists what acts at once.
func (p *picture) unversioned() (out []*unversioned) {
	for _, d := range p.dimensions {
		out = append(out, &unversioned{"label_dimension", eventlog.LabelDimensionSubject(pce.ID(d.GetHref())),
			&ringfencev1.Fact{Body: &ringfencev1.Fact_LabelDimension{LabelDimension: d}}})
	}
	for _, l := range p.labels {
		out = append(out, &unversioned{"label", eventlog.LabelSubject(pce.ID(l.GetHref())),
			&ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: l}}})
	}
	for _, w := range p.workloads {
		out = append(out, &unversioned{"workload", eventlog.PceWorkloadSubject(pce.ID(w.GetHref())),
			&ringfencev1.Fact{Body: &ringfencev1.Fact_PceWorkload{PceWorkload: w}}})
	}
	if p.pairing != nil {
		out = append(out, &unversioned{"pairing_profile", eventlog.PairingProfileSubject(pce.ID(p.pairing.GetHref())),
			&ringfencev1.Fact{Body: &ringfencev1.Fact_PairingProfile{PairingProfile: p.pairing}}})
	}
	for _, w := range p.profiles {
		out = append(out, &unversioned{"profile", eventlog.ProfileSubject(pce.ID(w.GetHref())),
			&ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: w}}})
	}
	return out
}
