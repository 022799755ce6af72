package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/tools/bench/report"
)

func TestEngineAsJSON(t *testing.T) {
	var out, progress bytes.Buffer
	file := filepath.Join(t.TempDir(), "engine.json")
	args := strings.Fields("engine --workloads A3,M --modes cold,node --scale 0.001 --runs 1 -o json --save " + file)
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 10 || r.Environment.Cores != 2 || !strings.Contains(r.Environment.Options, "scale 0.001") {
		t.Errorf("%d results in %+v", len(r.Results), r.Environment)
	}
	if !strings.Contains(progress.String(), "A3: cold fold 1 of 1") {
		t.Errorf("progress is %q", progress.String())
	}
}

func TestListNamesEveryWorkload(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"engine", "--list"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"A1 ", "A5 ", "C1-named ", "C2 ", "C2-all ", "I-100000 ", "M "} {
		if !strings.Contains(out.String(), "\n"+id) && !strings.HasPrefix(out.String(), id) {
			t.Errorf("the list lacks %s:\n%s", id, out.String())
		}
	}
}

func TestWrongNamesAreSaid(t *testing.T) {
	for args, want := range map[string]string{
		"engine --workloads A9": `no workload "A9": there are A1`,
		"engine --modes hot":    `no mode "hot": there are cold`,
		"log --rows bandwidth":  `no row "bandwidth": there are write`,
		"engine --speed":        "unknown flag --speed; see bench --help",
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(args), &out, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bench %s gives %v, want %s", args, err, want)
		}
	}
}

// TestLogNeedsItsPeer says what to do where the peer is not built.
func TestLogNeedsItsPeer(t *testing.T) {
	var out bytes.Buffer
	args := []string{"log", "--quick", "--etcd", filepath.Join(t.TempDir(), "bench-etcd")}
	if err := run(t.Context(), args, &out, &out); err == nil || !strings.Contains(err.Error(), "make bench-log builds it") {
		t.Errorf("without etcd the error is %v", err)
	}
}
