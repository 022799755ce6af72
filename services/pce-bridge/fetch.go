package pcebridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxMoves is how often a version may move under a fetch before the fetch is given up and tried later.
const maxMoves = 5

var errMoving = errors.New("the provisioned version changed during every one of 5 fetches")

// policy is one provisioned version, converted.
type policy struct {
	version       int64
	provisionedAt *timestamppb.Timestamp
	// objects by href, each with the SHA-256 of its deterministic encoding.
	objects  map[string]object
	warnings []string
	// bindings and virtual were read beside the version: bindings act at once, and so do virtual services that clusters make after
	// their own Services.
	bindings []pce.ServiceBinding
	virtual  []pce.VirtualService
}

type object struct {
	sha256 string
	fact   *ringfencev1.PceObject
}

// fetcher reads pictures. It is not safe for concurrent use.
type fetcher struct {
	client  *pce.Client
	cluster string // href
	// pairing is the name or the href of the nodes' pairing profile, empty for the only one.
	pairing string
	// holds tells whether the log holds objects of a kind, as hrefs spell it.
	holds func(kind string) bool
	// last is the newest policy that was read whole; its version is not read again.
	last *policy
	// listed are the kinds that the console has served.
	listed map[string]bool
}

// forget makes the next fetch read everything: after a failure the console may be another one under the same numbers.
func (f *fetcher) forget() { f.last = nil }

// fetch reads a picture. The version is the same before and after.
func (f *fetcher) fetch(ctx context.Context) (*picture, error) {
	before, err := f.client.ActiveVersion(ctx)
	if err != nil {
		return nil, err
	}
	for range maxMoves {
		p, err := f.read(ctx, before)
		if err != nil {
			return nil, err
		}
		after, err := f.client.ActiveVersion(ctx)
		if err != nil {
			return nil, err
		}
		if after.Version == before.Version {
			f.last = p.policy
			return p, nil
		}
		before = after
	}
	return nil, errMoving
}

func (f *fetcher) read(ctx context.Context, version pce.PolicyVersion) (*picture, error) {
	p, c := &picture{policy: f.last}, &converter{}
	bindings, err := served[pce.ServiceBinding](f, "service_bindings")(f.client.ServiceBindings(ctx))
	if err != nil {
		return nil, err
	}
	virtual, err := served[pce.VirtualService](f, "virtual_services")(f.client.VirtualServices(ctx, pce.Active))
	if err != nil {
		return nil, err
	}
	if p.policy == nil || p.version != version.Version || !reflect.DeepEqual(p.bindings, bindings) || !reflect.DeepEqual(p.virtual, virtual) {
		if p.policy, err = f.readPolicy(ctx, version, bindings, virtual); err != nil {
			return nil, err
		}
	}
	if p.dimensions, err = converted(c.dimension)(served[pce.LabelDimension](f, "label_dimensions")(f.client.LabelDimensions(ctx))); err != nil {
		return nil, err
	}
	if p.labels, err = converted(c.label)(f.client.Labels(ctx)); err != nil {
		return nil, err
	}
	machines, err := served[pce.Workload](f, "workloads")(f.client.Workloads(ctx))
	machines = slices.DeleteFunc(machines, func(w pce.Workload) bool { return w.Deleted })
	if p.workloads, err = converted(c.workload)(machines, err); err != nil {
		return nil, err
	}
	if err := f.readPairing(ctx, p); err != nil {
		return nil, err
	}
	p.profiles, err = converted(c.profile)(f.client.Profiles(ctx, f.cluster))
	return p, err
}

// served takes a collection that the console does not serve for an empty one, where nothing speaks against it: one that it served
// before, or of which the log holds objects, has not become empty by an answer of 404.
func served[T any](f *fetcher, kind string) func([]T, error) ([]T, error) {
	return func(items []T, err error) ([]T, error) {
		switch {
		case err == nil:
			if f.listed == nil {
				f.listed = map[string]bool{}
			}
			f.listed[kind] = true
		case pce.KindOf(err) == pce.Missing && (f.listed[kind] || f.holds != nil && f.holds(kind)):
			return nil, fmt.Errorf("%w; the console had %s before, and what it had stays in force", err, kind)
		case pce.KindOf(err) == pce.Missing:
			return nil, nil
		}
		return items, err
	}
}

// readPairing reads the pairing profile of the cluster's nodes. A console of an earlier release does not show pairing
// profiles to a cluster (403): then there is none.
func (f *fetcher) readPairing(ctx context.Context, p *picture) error {
	all, err := served[pce.PairingProfile](f, "pairing_profiles")(f.client.PairingProfiles(ctx))
	var refused *pce.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		p.notes = append(p.notes, "the PCE does not let this cluster read pairing profiles: nodes have no labels and mode by one")
		return nil
	}
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(all, func(x pce.PairingProfile) bool {
		return f.pairing == "" && !x.Enabled || f.pairing != "" && f.pairing != x.Name && f.pairing != x.Href
	})
	switch {
	case len(chosen) == 1:
		p.pairing, err = (&converter{}).pairingProfile(chosen[0])
		return err
	case f.pairing != "":
		p.notes = append(p.notes, fmt.Sprintf("the PCE has %d pairing profiles %q, want one: nodes have no labels and mode by one", len(chosen), f.pairing))
	case len(chosen) > 1:
		p.notes = append(p.notes, fmt.Sprintf("the PCE has %d enabled pairing profiles; say with --pairing-profile which is the nodes', until then they have no labels and mode by one", len(chosen)))
	}
	return nil
}

// converted makes a conversion of lists, which passes failures to read them on.
func converted[T, P any](convert func(T) (P, error)) func([]T, error) ([]P, error) {
	return func(items []T, err error) ([]P, error) {
		if err != nil {
			return nil, err
		}
		return each(items, convert)
	}
}

func each[T, P any](items []T, convert func(T) (P, error)) ([]P, error) {
	out := make([]P, len(items))
	for i, item := range items {
		var err error
		if out[i], err = convert(item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readAcknowledged reads which Kubernetes workloads of the cluster the console knows. One that it calls oddly is left out.
func (f *fetcher) readAcknowledged(ctx context.Context, p *picture) error {
	listed, err := served[pce.KubernetesWorkload](f, "kubernetes_workloads")(f.client.KubernetesWorkloads(ctx))
	if err != nil {
		return err
	}
	for _, w := range listed {
		if !ofCluster(w.ContainerCluster, f.cluster) {
			continue
		}
		known, err := (&converter{}).acknowledged(w)
		if err != nil {
			p.notes = append(p.notes, err.Error())
			continue
		}
		p.acknowledged = append(p.acknowledged, known)
	}
	return nil
}

// ofCluster tells whether an object is the cluster's; a console that does not say shows no others'.
func ofCluster(ref *pce.Ref, cluster string) bool { return ref == nil || ref.Href == cluster }

func (f *fetcher) readPolicy(ctx context.Context, version pce.PolicyVersion, bindings []pce.ServiceBinding, services []pce.VirtualService) (*policy, error) {
	p := &policy{version: version.Version, objects: map[string]object{}, bindings: bindings, virtual: services}
	if at, err := time.Parse(time.RFC3339Nano, version.CreatedAt); err == nil {
		p.provisionedAt = timestamppb.New(at)
	}
	c := &converter{cluster: pce.ID(f.cluster)}
	virtual := func(v pce.VirtualService) (*ringfencev1.PceObject, error) { return c.virtualService(v, bindings) }
	for _, read := range []func() ([]*ringfencev1.PceObject, error){
		func() ([]*ringfencev1.PceObject, error) {
			return converted(c.ipList)(f.client.IPLists(ctx, pce.Active))
		},
		func() ([]*ringfencev1.PceObject, error) {
			return converted(c.service)(f.client.Services(ctx, pce.Active))
		},
		func() ([]*ringfencev1.PceObject, error) {
			return converted(c.labelGroup)(served[pce.LabelGroup](f, "label_groups")(f.client.LabelGroups(ctx, pce.Active)))
		},
		func() ([]*ringfencev1.PceObject, error) {
			return each(services, virtual)
		},
		func() ([]*ringfencev1.PceObject, error) {
			return converted(c.ruleSet)(f.client.RuleSets(ctx, pce.Active))
		},
		func() ([]*ringfencev1.PceObject, error) {
			return converted(c.boundary)(served[pce.EnforcementBoundary](f, "enforcement_boundaries")(f.client.EnforcementBoundaries(ctx, pce.Active)))
		},
	} {
		objects, err := read()
		if err != nil {
			return nil, err
		}
		if err := p.addAll(objects); err != nil {
			return nil, err
		}
	}
	p.warnings = c.warnings
	return p, nil
}

func (p *policy) addAll(objects []*ringfencev1.PceObject) error {
	for _, o := range objects {
		if err := p.add(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *policy) add(o *ringfencev1.PceObject) error {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(o)
	href := hrefOf(o)
	if err != nil {
		return &objectError{object: href, field: "(whole)", problem: err.Error()} // a string that is not UTF-8
	}
	if _, twice := p.objects[href]; twice {
		return &objectError{object: href, field: "href", problem: "is there twice"}
	}
	sum := sha256.Sum256(encoded)
	p.objects[href] = object{sha256: hex.EncodeToString(sum[:]), fact: o}
	return nil
}

func hrefOf(o *ringfencev1.PceObject) string {
	switch x := o.GetObject().(type) {
	case *ringfencev1.PceObject_RuleSet:
		return x.RuleSet.GetHref()
	case *ringfencev1.PceObject_IpList:
		return x.IpList.GetHref()
	case *ringfencev1.PceObject_Service:
		return x.Service.GetHref()
	case *ringfencev1.PceObject_LabelGroup:
		return x.LabelGroup.GetHref()
	case *ringfencev1.PceObject_EnforcementBoundary:
		return x.EnforcementBoundary.GetHref()
	case *ringfencev1.PceObject_VirtualService:
		return x.VirtualService.GetHref()
	default:
		return fmt.Sprintf("%T", x)
	}
}
