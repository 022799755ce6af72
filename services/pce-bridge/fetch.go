package pcebridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
}

type object struct {
	sha256 string
	fact   *ringfencev1.PceObject
}

// picture is all that the bridge takes from the console, of one moment.
type picture struct {
	*policy
	labels   []*ringfencev1.Label
	profiles []*ringfencev1.ContainerWorkloadProfile
}

// fetcher reads pictures. It is not safe for concurrent use.
type fetcher struct {
	client  *pce.Client
	cluster string // href
	// last is the newest policy that was read whole; its version is not read again.
	last *policy
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
	var err error
	if p.policy == nil || p.version != version.Version {
		if p.policy, err = f.readPolicy(ctx, version); err != nil {
			return nil, err
		}
	}
	labels, err := f.client.Labels(ctx)
	if err != nil {
		return nil, err
	}
	if p.labels, err = each(labels, c.label); err != nil {
		return nil, err
	}
	profiles, err := f.client.Profiles(ctx, f.cluster)
	if err != nil {
		return nil, err
	}
	p.profiles, err = each(profiles, c.profile)
	return p, err
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

func (f *fetcher) readPolicy(ctx context.Context, version pce.PolicyVersion) (*policy, error) {
	p := &policy{version: version.Version, objects: map[string]object{}}
	if at, err := time.Parse(time.RFC3339Nano, version.CreatedAt); err == nil {
		p.provisionedAt = timestamppb.New(at)
	}
	c := &converter{}
	lists, err := f.client.IPLists(ctx, pce.Active)
	if err := p.take(each(lists, c.ipList))(err); err != nil {
		return nil, err
	}
	services, err := f.client.Services(ctx, pce.Active)
	if err := p.take(each(services, c.service))(err); err != nil {
		return nil, err
	}
	sets, err := f.client.RuleSets(ctx, pce.Active)
	if err := p.take(each(sets, c.ruleSet))(err); err != nil {
		return nil, err
	}
	p.warnings = c.warnings
	return p, nil
}

// take adds converted objects, unless they could not be read or converted.
func (p *policy) take(objects []*ringfencev1.PceObject, failed error) func(error) error {
	return func(unread error) error {
		if err := errors.Join(unread, failed); err != nil {
			return err
		}
		for _, o := range objects {
			if err := p.add(o); err != nil {
				return err
			}
		}
		return nil
	}
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
	default:
		return fmt.Sprintf("%T", x)
	}
}
