package workload

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestAddressesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for i := range 400_000 {
		a := addressOf(i).String()
		if seen[a] {
			t.Fatalf("pod %d has the address %s of another", i, a)
		}
		seen[a] = true
	}
}

func TestPodsSpreadOverAllNodes(t *testing.T) {
	count := make([]int, Nodes)
	for i := range 100_000 {
		count[randomNode(i, Nodes)]++
	}
	for node, n := range count {
		if n < 50 || n > 160 {
			t.Errorf("node %d has %d of 100,000 pods", node, n)
		}
	}
}

// TestSameClusterSameBytes makes every workload twice.
func TestSameClusterSameBytes(t *testing.T) {
	for _, kind := range Catalogue() {
		if a, b := digest(kind.Make(0.001).Log()), digest(kind.Make(0.001).Log()); !bytes.Equal(a, b) {
			t.Errorf("%s: two logs of one cluster differ", kind.ID)
		}
	}
}

func digest(l *Log) []byte {
	h := sha256.New()
	for _, m := range l.Messages {
		h.Write([]byte(m.Subject))
		h.Write(m.Data)
	}
	return h.Sum(nil)
}

// TestSizes compares the workloads with peers.md 9.5, where that does not take long.
func TestSizes(t *testing.T) {
	for _, want := range []struct {
		id                                    string
		namespaces, pods, policies, labelSets int
	}{
		{"A1", 25_000, 100_000, 75_000, 50_000},
		{"A2", 100, 100_000, 10_100, 10_000},
		{"A3", 1, 10_000, 10_000, 1},
		{"A4", 1, 10_000, 10_000, 10_000},
		{"A5", 1_000, 100_000, 10_000, 10_000},
		{"C1-10k", 10_000, 10_000, 10_000, 10_000},
		{"C2", 100, 250_200, 10_000, 29},
		{"G", 1, 1_000, 1_000, 1},
		{"I-1000", 10_000, 10_000, 1_000, 1_000},
		{"M", 200, 100_000, 200, 1_000},
	} {
		for _, kind := range Catalogue() {
			if kind.ID != want.id {
				continue
			}
			c := kind.Make(1)
			if len(c.Namespaces) != want.namespaces || len(c.Pods) != want.pods || len(c.Policies) != want.policies || c.LabelSets() != want.labelSets {
				t.Errorf("%s: %d namespaces, %d pods, %d policies, %d label sets, want %+v", c.ID, len(c.Namespaces), len(c.Pods), len(c.Policies), c.LabelSets(), want)
			}
			if c.ID == "M" && c.Rules() != 10_000 {
				t.Errorf("M: %d rules", c.Rules())
			}
		}
	}
}

// TestPeersUniqueValues: what Calico's generator calls unique has sixteen values, and ours as many as there are pods.
func TestPeersUniqueValues(t *testing.T) {
	peers, ours := map[string]bool{}, map[string]bool{}
	for i := range 10_000 {
		peers[peerText(5*i, 20)], ours[uniqueText(5*i, 20)] = true, true
	}
	if len(peers) != 16 || len(ours) != 10_000 {
		t.Errorf("%d values of the peer's and %d of ours, want 16 and 10,000", len(peers), len(ours))
	}
}

// TestManifestsFitIntoMessages looks at a console whose manifest does not fit into one.
func TestManifestsFitIntoMessages(t *testing.T) {
	l := Small(2_000).Log()
	chunks := 0
	for _, m := range l.Messages {
		if strings.HasPrefix(m.Subject, "facts.pce.provisioned.") {
			chunks++
			if len(m.Data) > 512<<10 {
				t.Errorf("%s has %d bytes", m.Subject, len(m.Data))
			}
		}
	}
	if chunks < 2 {
		t.Errorf("6,000 rule sets are in %d chunks", chunks)
	}
}

// TestRoundsEndWhereTheyBegan: the last fact of a pod or a namespace in a round is the one that was there before.
func TestRoundsEndWhereTheyBegan(t *testing.T) {
	l := Scoped(20).Log()
	before := map[string][]byte{}
	for _, m := range l.Messages {
		before[m.Subject] = m.Data
	}
	changes := l.Changes()
	for _, next := range changes.Rounds() {
		round := next()
		for _, f := range round[len(round)-1].Facts {
			was, known := before[f.Subject]
			if !known || strings.HasPrefix(f.Subject, "facts.pce.provisioned.") {
				continue
			}
			now, err := proto.MarshalOptions{Deterministic: true}.Marshal(f.Fact)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(was, now) {
				t.Errorf("%s: %s ends as another", round[0].Kind, f.Subject)
			}
		}
	}
}
