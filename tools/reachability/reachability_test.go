package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

const (
	shopFile  = "../ringfence/testdata/shop.rflog"
	shopLines = "../ringfence/testdata/shop.jsonl"
)

func TestMain(m *testing.M) {
	if os.Getenv("REACHABILITY") != "" { // the test of the process itself runs it so
		main()
		return
	}
	os.Exit(m.Run())
}

// endpoints are the shop's Deployments and its bare pod, as the engine and as the checker name them.
var endpoints = map[string]string{"shop/deployment/web": "shop/web", "shop/deployment/api": "shop/api", "ops/pod/intruder": "ops/intruder"}

type pair struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Port    uint16 `json:"port"`
	Allowed bool   `json:"allowed"`
}

// check runs the checker over a log.
func check(t *testing.T, file string, pairs []pair) []pair {
	t.Helper()
	question, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.CommandContext(t.Context(), os.Args[0], string(question))
	command.Env = append(os.Environ(), "REACHABILITY=1")
	command.Stdin = log
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var judged []pair
	if err := json.Unmarshal(output, &judged); err != nil || len(judged) != len(pairs) {
		t.Fatalf("%v: %s", err, output)
	}
	return judged
}

// until gives the name of a file with the shop's facts up to a sequence.
func until(t *testing.T, sequence int) string {
	t.Helper()
	data, err := os.ReadFile(shopLines)
	if err != nil {
		t.Fatal(err)
	}
	name := t.TempDir() + "/log.jsonl"
	lines := strings.SplitAfter(string(data), "\n")[:sequence]
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTheCheckerAgreesWithTheEngine asks both for all pairs of workloads on all ports that mean something, and some that
// do not, at the places of the log at which the shop is enforced in full.
func TestTheCheckerAgreesWithTheEngine(t *testing.T) {
	log, err := ringfence.OpenFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	allowed := 0
	for sequence := 33; sequence <= 34; sequence++ {
		name := until(t, sequence)
		replay, err := ringfence.At(t.Context(), log, ringfence.Place{Sequence: uint64(sequence)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var pairs, want []pair
		for from, fromName := range endpoints {
			for to, toName := range endpoints {
				if from == to {
					continue
				}
				for _, port := range []uint16{22, 8080, 5432} {
					answer, err := replay.Engine.Explain(clas.Query{Source: from, Destination: to, Port: port, Protocol: 6})
					if err != nil {
						t.Fatal(err)
					}
					pairs = append(pairs, pair{From: fromName, To: toName, Port: port})
					want = append(want, pair{fromName, toName, port, answer.Verdict != clas.Blocked})
				}
			}
		}
		for i, got := range check(t, name, pairs) {
			if got != want[i] {
				t.Errorf("up to %d: the checker says %+v, the engine %+v", sequence, got, want[i])
			}
			if sequence == 34 && got.Allowed {
				allowed++
			}
		}
	}
	if allowed != 1 { // web → api
		t.Errorf("%d of the pairs may connect in the end, want 1", allowed)
	}
}

// TestTheCheckerStaysSmallAndIndependent holds what its comment promises.
func TestTheCheckerStaysSmallAndIndependent(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	code, _, _ := strings.Cut(string(source), "import (")
	_, body, _ := strings.Cut(string(source)[len(code):], "\n)\n")
	lines := 0
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	if lines > 50 {
		t.Errorf("%d lines of code below the imports, more than 50", lines)
	}
	if found := regexp.MustCompile(`"[a-z0-9.-]+\.[a-z]+/[^"]*"`).FindAllString(string(source), -1); len(found) > 0 {
		t.Errorf("it imports more than the standard library: %v", found)
	}
}
