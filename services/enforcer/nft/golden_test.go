package nft

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
)

var update = flag.Bool("update", false, "write the golden files from what the nft program says")

// TestNftReadsOurTables has the nft program (1.0.6 wrote the golden files) list each kind of layout.
func TestNftReadsOurTables(t *testing.T) {
	t.Parallel()
	for _, mode := range []datapath.Mode{datapath.Full, datapath.Visibility, datapath.Idle} {
		t.Run(mode.String(), func(t *testing.T) {
			n := netnstest.New(t, "pod")
			apply(t, attach(t, n), goldenPolicy(t, mode))
			file := "testdata/" + mode.String() + ".nft"
			got := list(t, n)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("nft reads the table differently from %s:\n%s", file, diff)
			}
		})
	}
}

// goldenPolicy has every kind of rule. Its hash sets have one element, because the order of more is not fixed.
func goldenPolicy(t testing.TB, mode datapath.Mode) datapath.Policy {
	web := setOf(t, "2f9ac1", "10.244.1.7", "fd10::1:7")
	office := setOf(t, "offices", "192.0.2.0/24", "198.51.100.7/32", "203.0.113.0/25", "203.0.113.128/25", "2001:db8::/32", "fe00::/7")
	api := setOf(t, "api", "10.96.4.2", "198.18.0.0/15")
	return datapath.Policy{
		Mode: mode,
		Node: setOf(t, "node", "10.244.1.1", "fd10::1:1"),
		Inbound: []datapath.Rule{
			allow("a41d0c2233445566", web, tcp(8080, 8080), portsOf(datapath.UDP, 5000, 5002)),
			{ID: "b41d0c2233445566", Terms: []datapath.Term{
				{Peers: office, Ports: []datapath.Ports{tcp(8080, 8080), tcp(30000, 32767), portsOf(datapath.SCTP, 0, 0)}},
				{Peers: web, Ports: []datapath.Ports{{Protocol: datapath.ICMP, ICMPType: 8, ICMPCode: 0},
					{Protocol: datapath.ICMPv6, ICMPType: 128, ICMPCode: datapath.AnyICMP}}},
			}},
		},
		Outbound: []datapath.Rule{allow("c41d0c2233445566", api, everything())},
	}
}
