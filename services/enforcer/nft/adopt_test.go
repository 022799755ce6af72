package nft

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
)

func TestRestartLeavesEnforcementAndAdopts(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	rules := []datapath.Rule{allow("1", peers(t, "web", n.client), tcp(8080, 8080))}
	n.apply(t, datapath.Full, rules, nil)
	if err := n.guard.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, n.client, n.server, "tcp", 8080, true)
	expect(t, n.intruder, n.server, "tcp", 8080, false)

	before := list(t, n.server)
	n.guard = attach(t, n.server)
	if after := list(t, n.server); after != before {
		t.Errorf("attaching alone changed the table:\n%s\nbefore:\n%s", after, before)
	}
	rules = append(rules, allow("2", peers(t, "late", n.intruder), tcp(8080, 8080)))
	if c := n.apply(t, datapath.Full, rules, nil); !c.Full {
		t.Errorf("adoption was %+v, not a full load", c)
	}
	expect(t, n.intruder, n.server, "tcp", 8080, true)
	expect(t, n.intruder, n.server, "udp", 8080, false)
}

func TestAdoptionOfAStrangeTable(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	nft(t, n.server, `table inet ringfence {
		set a4_web { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
		set rubbish { type inet_service; elements = { 80 } }
		map in_ports { type inet_service : verdict; elements = { 80 : jump old } }
		chain old { accept; }
		chain extra { type filter hook forward priority filter; tcp dport @rubbish jump old; }
	}`)
	n.apply(t, datapath.Full, []datapath.Rule{allow("1", peers(t, "web", n.client), tcp(8080, 8080))}, nil)
	expect(t, n.client, n.server, "tcp", 8080, true)
	expect(t, n.intruder, n.server, "tcp", 8080, false)
	for _, word := range []string{"rubbish", "chain old", "extra"} {
		if strings.Contains(list(t, n.server), word) {
			t.Errorf("%s of the strange table is still there", word)
		}
	}
}

func TestOpenLetsEverythingPassWhereThereIsATable(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	if err := n.guard.Open(); err != nil {
		t.Fatal(err)
	}
	if got := list(t, n.server); got != "" {
		t.Errorf("opening a namespace without a table made one:\n%s", got)
	}
	n.apply(t, datapath.Full, nil, nil)
	expect(t, n.client, n.server, "tcp", 8080, false)
	if err := n.guard.Open(); err != nil {
		t.Fatal(err)
	}
	expect(t, n.client, n.server, "tcp", 8080, true)
	if got := list(t, n.server); strings.Contains(got, "drop") || strings.Contains(got, "log") {
		t.Errorf("rules are left:\n%s", got)
	}
	n.apply(t, datapath.Full, nil, nil)
	expect(t, n.client, n.server, "tcp", 8080, false)
}

func TestRemoveTakesOurTableAlone(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	nft(t, n.server, "table inet other { chain c { type filter hook input priority 5; policy accept; }; }")
	n.apply(t, datapath.Full, nil, nil)
	for range 2 {
		if err := n.guard.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, n.server); strings.Contains(got, TableName) || !strings.Contains(got, "other") {
		t.Errorf("after the removal there is:\n%s", got)
	}
	expect(t, n.client, n.server, "tcp", 8080, true)
	n.apply(t, datapath.Full, nil, nil)
	expect(t, n.client, n.server, "tcp", 8080, false)
}

// nft feeds the nft program.
func nft(t testing.TB, n *netnstest.Namespace, script string) {
	t.Helper()
	cmd := exec.Command("nsenter", "--net="+n.Path, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// TestLargeSetsAreWhole is the regression test of the release of the netlink library that loaded 904 of 5,000 elements
// and said nothing.
func TestLargeSetsAreWhole(t *testing.T) {
	t.Parallel()
	n := netnstest.New(t, "pod")
	g := attach(t, n)
	entries := func(count, from int) []string {
		var all []string
		for i := from; i < from+count; i++ {
			all = append(all, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), fmt.Sprintf("fd00::%x", i),
				fmt.Sprintf("172.%d.%d.0/29", 16+i>>8&15, i&255))
		}
		return all
	}
	node := setOf(t, "node")
	load := func(list []string) datapath.Change {
		return apply(t, g, datapath.Policy{Mode: datapath.Full, Node: node,
			Inbound: []datapath.Rule{allow("1", setOf(t, "big", list...), everything())}})
	}
	load(entries(5000, 0))
	if got := countElements(t, n, "a4_big", 5000); got != 5000 {
		t.Errorf("%d elements of 5000 in the IPv4 set", got)
	}
	if got := countElements(t, n, "a6_big", 5000); got != 5000 {
		t.Errorf("%d elements of 5000 in the IPv6 set", got)
	}
	c := load(entries(5000, 2000))
	if got := countElements(t, n, "a4_big", 5000); got != 5000 || c.Full {
		t.Errorf("after an exchange of 2000, %+v: %d elements of 5000", c, got)
	}
}

// countElements counts with the nft program. It looks again, because a dump during a resize of the set is not exact.
func countElements(t testing.TB, n *netnstest.Namespace, set string, want int) int {
	t.Helper()
	count := -1
	for attempt := 0; attempt < 5 && count != want; attempt++ {
		out, err := exec.Command("nsenter", "--net="+n.Path, "nft", "list", "set", "inet", TableName, set).CombinedOutput()
		if err != nil {
			t.Fatalf("nft list set: %v\n%s", err, out)
		}
		_, elements, _ := strings.Cut(string(out), "elements = {")
		different := map[string]bool{}
		for _, e := range strings.FieldsFunc(elements, func(r rune) bool { return strings.ContainsRune(" ,\n\t}", r) }) {
			different[e] = true
		}
		count = len(different)
	}
	return count
}

func TestRefusedPolicyLeavesThePreviousOne(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.apply(t, datapath.Full, []datapath.Rule{allow("1", peers(t, "web", n.client), tcp(8080, 8080))}, nil)
	for name, bad := range map[string]datapath.Rule{
		"rule id":     allow(`1"; accept`, peers(t, "web", n.client), everything()),
		"no peers":    {ID: "2", Terms: []datapath.Term{{Ports: []datapath.Ports{everything()}}}},
		"ports":       allow("2", peers(t, "web", n.client), tcp(10, 9)),
		"no header":   allow("2", peers(t, "web", n.client), portsOf(47, 1, 1)),
		"protocol":    allow("2", peers(t, "web", n.client), portsOf(300, 0, 0)),
		"ICMP type":   allow("2", peers(t, "web", n.client), datapath.Ports{Protocol: 1, ICMPType: 256, ICMPCode: -1}),
		"name clash":  allow("2", peers(t, "node", n.client), everything()),
		"kernel says": allow("2", kernelRefuses(t), everything()),
	} {
		_, err := n.guard.Apply(datapath.Policy{Mode: datapath.Full, Node: n.nodeSet, Inbound: []datapath.Rule{bad}})
		if err == nil {
			t.Errorf("%s: a policy that cannot be programmed was accepted", name)
		}
		expect(t, n.client, n.server, "tcp", 8080, true)
		expect(t, n.intruder, n.server, "tcp", 8080, false)
	}
	n.apply(t, datapath.Full, []datapath.Rule{allow("1", peers(t, "web", n.intruder), tcp(8080, 8080))}, nil)
	expect(t, n.client, n.server, "tcp", 8080, false)
}

// kernelRefuses is a set that only the kernel finds fault with: an address of the wrong length, at the end of the batch.
func kernelRefuses(t testing.TB) *datapath.AddressSet {
	s := setOf(t, "broken", "10.0.0.1")
	s.V4 = append(s.V4, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	return s
}
