package kubefact

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// labels copies labels, so that a fact never shares memory with the object.
func labels(from map[string]string) map[string]string { return maps.Clone(from) }

// address checks an address and writes it in the one form that the log uses.
func address(field, text string) (string, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return "", fmt.Errorf("%s: %q is not an IP address", field, text)
	}
	return a.Unmap().String(), nil
}

// protocols maps the names of Kubernetes to IANA numbers. An empty name is TCP.
var protocols = map[corev1.Protocol]uint32{"": 6, corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

func protocol(field string, name corev1.Protocol) (uint32, error) {
	number, ok := protocols[name]
	if !ok {
		return 0, fmt.Errorf("%s: %q is not TCP, UDP or SCTP", field, name)
	}
	return number, nil
}

// port checks a port number; 0 stands for none and is right only where optional.
func port(field string, number int32, optional bool) (uint32, error) {
	if number < 0 || number > 65535 || number == 0 && !optional {
		return 0, fmt.Errorf("%s: %d is not a port", field, number)
	}
	return uint32(number), nil
}
