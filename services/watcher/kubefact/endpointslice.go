package kubefact

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ServiceOf names the Service of an EndpointSlice; its name is empty for a slice of none.
func ServiceOf(o *discoveryv1.EndpointSlice) Key {
	return Key{Kind: KindService, Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}
}

// standsAlone tells whether a slice says what nothing else does: that of a Service which selects no pods. A slice of names
// says nothing of addresses.
func standsAlone(o *discoveryv1.EndpointSlice, owners Owners) bool {
	key := ServiceOf(o)
	if key.Name == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return false
	}
	owner, found := owners.Owner(key)
	service, ok := owner.(*corev1.Service)
	return found && ok && len(service.Spec.Selector) == 0
}

func endpointSlice(o *discoveryv1.EndpointSlice) (*ringfencev1.EndpointSlice, error) {
	fact := &ringfencev1.EndpointSlice{
		Namespace: o.Namespace, Name: o.Name, Uid: string(o.UID), ResourceVersion: o.ResourceVersion, Service: ServiceOf(o).Name,
	}
	for i, e := range o.Endpoints {
		for j, text := range e.Addresses {
			a, err := address(fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), text)
			if err != nil {
				return nil, err
			}
			fact.Addresses = append(fact.Addresses, a)
		}
	}
	// Whoever writes slices need not keep an order.
	slices.Sort(fact.Addresses)
	fact.Addresses = slices.Compact(fact.Addresses)
	for i, p := range o.Ports {
		if p.Port == nil {
			continue // it says nothing of ports
		}
		converted, err := endpointPort(fmt.Sprintf("ports[%d]", i), p)
		if err != nil {
			return nil, err
		}
		fact.Ports = append(fact.Ports, converted)
	}
	return fact, nil
}

func endpointPort(field string, p discoveryv1.EndpointPort) (*ringfencev1.EndpointPort, error) {
	fact := &ringfencev1.EndpointPort{}
	if p.Name != nil {
		fact.Name = *p.Name
	}
	var name corev1.Protocol
	if p.Protocol != nil {
		name = *p.Protocol
	}
	var err error
	if fact.Protocol, err = protocol(field+".protocol", name); err != nil {
		return nil, err
	}
	fact.Port, err = port(field+".port", *p.Port, false)
	return fact, err
}
