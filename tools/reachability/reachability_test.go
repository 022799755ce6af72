package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

const shopFile = "../ringfence/testdata/shop.jsonl"

func TestMain(m *testing.M) {
	if os.Getenv("REACHABILITY") != "" { // the test of the process itself runs it so
		main()
		return
	}
	os.Exit(m.Run())
}

// endpoints are the shop's workloads, as the engine and as the checker name them.
var endpoints = map[string]string{
	"shop/deployment/web": "shop/web", "shop/deployment/api": "shop/api", "shop/statefulset/db": "shop/db", "ops/pod/intruder": "ops/intruder",
}

type pair struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Port    uint16 `json:"port"`
	Allowed bool   `json:"allowed"`
}

// check runs the checker over a log.
func check(t *testing.T, file string, pairs []pair) []pair {
	t.Helper()
	input, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], file)
	command.Env = append(os.Environ(), "REACHABILITY=1")
	command.Stdin = bytes.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	var judged []pair
	if err := json.Unmarshal(output, &judged); err != nil || len(judged) != len(pairs) {
		t.Fatalf("%v: %s", err, output)
	}
	return judged
}

// until gives the name of a file with the shop's log up to a sequence.
func until(t *testing.T, sequence int) string {
	t.Helper()
	data, err := os.ReadFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	name := t.TempDir() + "/log.jsonl"
	lines := strings.SplitAfter(string(data), "\n")[:sequence+1]
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTheCheckerAgreesWithTheEngine asks both for all pairs of workloads on all ports that mean something, and some that
// do not, at every place of the log from the first complete policy on.
func TestTheCheckerAgreesWithTheEngine(t *testing.T) {
	allowed := 0
	for sequence := 29; sequence <= 34; sequence++ {
		name := until(t, sequence)
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		replay, err := ringfence.ReplayFile(file, ringfence.Until{}, nil)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		var pairs, want []pair
		for from, fromName := range endpoints {
			for to, toName := range endpoints {
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
	if allowed != 5 { // web → api, api → db, and the intruder to itself, which only watches, on three ports
		t.Errorf("%d of the pairs may connect in the end, want 5", allowed)
	}
}

func TestAServicePortStandsForTheOneBehindIt(t *testing.T) {
	got := check(t, shopFile, []pair{{From: "shop/web", To: "shop/api", Port: 80}, {From: "shop/web", To: "shop/db", Port: 80}})
	if !got[0].Allowed || got[1].Allowed {
		t.Errorf("got %+v, want web to reach api by its Service and not db", got)
	}
}

func TestACutOffLogIsRefused(t *testing.T) {
	name := t.TempDir() + "/cut.jsonl"
	if err := os.WriteFile(name, []byte(`{"sequence":1,"subject":"facts.x`), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], name)
	command.Env, command.Stdin = append(os.Environ(), "REACHABILITY=1"), strings.NewReader("[]")
	if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "unexpected EOF") {
		t.Errorf("error %v, said %q", err, output)
	}
}

// TestTheCheckerStaysSmallAndIndependent holds what its comment promises.
func TestTheCheckerStaysSmallAndIndependent(t *testing.T) {
	for name, limit := range map[string]int{"check.go": 50, "main.go": 60} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code := 0
		for line := range strings.Lines(string(source)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				code++
			}
		}
		if code > limit {
			t.Errorf("%s has %d lines of code, more than %d", name, code, limit)
		}
		if found := regexp.MustCompile(`"[a-z0-9.-]+\.[a-z]+/[^"]*"`).FindAllString(string(source), -1); len(found) > 0 {
			t.Errorf("%s imports more than the standard library: %s", name, fmt.Sprint(found))
		}
	}
}
