package nft

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// TestFingerprintTellsRulesFromMembers: members may change without the shape, anything else changes it.
func TestFingerprintTellsRulesFromMembers(t *testing.T) {
	node := setOf(t, "node", "10.0.0.1")
	shape := func(mode datapath.Mode, set *datapath.AddressSet, id string, p ...datapath.Ports) string {
		return arrange(datapath.Policy{Mode: mode, Node: node, Inbound: []datapath.Rule{allow(id, set, p...)}}).fingerprint()
	}
	web := setOf(t, "web", "10.0.0.2")
	same := shape(datapath.Full, web, "1", tcp(80, 80))
	for name, s := range map[string]string{
		"other members": shape(datapath.Full, setOf(t, "web", "10.0.0.3", "fd00::1"), "1", tcp(80, 80)),
		"no members":    shape(datapath.Full, setOf(t, "web"), "1", tcp(80, 80)),
	} {
		if s != same {
			t.Errorf("%s change the shape:\n%s", name, s)
		}
	}
	for name, s := range map[string]string{
		"mode":     shape(datapath.Visibility, web, "1", tcp(80, 80)),
		"set":      shape(datapath.Full, setOf(t, "db", "10.0.0.2"), "1", tcp(80, 80)),
		"ranges":   shape(datapath.Full, setOf(t, "web", "10.0.0.2", "10.1.0.0/16"), "1", tcp(80, 80)),
		"rule":     shape(datapath.Full, web, "2", tcp(80, 80)),
		"port":     shape(datapath.Full, web, "1", tcp(81, 81)),
		"protocol": shape(datapath.Full, web, "1", portsOf(datapath.UDP, 80, 80)),
		"range":    shape(datapath.Full, web, "1", tcp(80, 200)),
		"idle":     shape(datapath.Idle, web, "1", tcp(80, 80)),
	} {
		if s == same {
			t.Errorf("another %s does not change the shape", name)
		}
	}
}

// TestNoDropOutsideFull holds for every mode: nothing but full may ever drop.
func TestNoDropOutsideFull(t *testing.T) {
	for _, mode := range []datapath.Mode{datapath.Idle, datapath.Visibility, datapath.Selective, datapath.Full} {
		l := arrange(goldenPolicy(t, mode))
		drops := strings.Contains(l.fingerprint(), drop.text) || l.closed
		if drops != (mode == datapath.Full) {
			t.Errorf("%s drops: %t", mode, drops)
		}
		logs := strings.Contains(l.fingerprint(), "log prefix")
		if logs == (mode == datapath.Idle) {
			t.Errorf("%s logs: %t", mode, logs)
		}
	}
}

func TestRulesAreNotRepeated(t *testing.T) {
	web := setOf(t, "web", "10.0.0.2")
	rule := allow("1", web, tcp(80, 90), tcp(85, 95), tcp(1, 100), tcp(1, 100))
	l := arrange(datapath.Policy{Mode: datapath.Full, Node: setOf(t, "node"), Inbound: []datapath.Rule{rule}})
	text := l.fingerprint()
	if n := strings.Count(text, "chain in_6_"); n != 16 {
		t.Errorf("%d port chains, expected those of 80 to 95:\n%s", n, text)
	}
	if n := strings.Count(text, "@a4_web goto in_r_1"); n != 16+1 {
		t.Errorf("%d rules for the IPv4 peers, expected one a port and one for the long range:\n%s", n, text)
	}
}

func TestTooManyElementsAreRefused(t *testing.T) {
	addresses := make([][]byte, maxElements+1)
	for i := range addresses {
		addresses[i] = []byte{10, byte(i >> 16), byte(i >> 8), byte(i)}
	}
	set, err := datapath.NewAddressSet("all", addresses, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := datapath.Policy{Mode: datapath.Full, Node: setOf(t, "node"), Inbound: []datapath.Rule{allow("1", set, everything())}}
	if _, err := (&guard{}).Apply(p); err == nil || !strings.Contains(err.Error(), "1000001 set elements") {
		t.Errorf("a set of %d elements: %v", len(addresses), err)
	}
}
