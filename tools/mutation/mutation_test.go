package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// survivorsOf runs the mutants of the sample.
func survivorsOf(t *testing.T, tests ...string) (mutants, survivors []mutant) {
	t.Helper()
	s, err := load(t.Context(), "testdata/sample")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := s.instrument([]string{"sample.go"})
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	binary := filepath.Join(work, "mutants.test")
	if err := changed.build(t.Context(), work, binary); err != nil {
		t.Fatal(err)
	}
	r := runner{binary: binary, dir: "testdata/sample", tests: tests, workers: 2, timeout: 5 * time.Second}
	if err := r.baseline(t.Context()); err != nil {
		t.Fatal(err)
	}
	return changed.mutants, r.run(t.Context(), changed.mutants, func(m mutant) { t.Log(m) })
}

func TestFunctionsMayBeChosen(t *testing.T) {
	s, err := load(t.Context(), "testdata/sample")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := s.instrument([]string{"sample.go:Kind|Eith.r"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range changed.mutants {
		if m.function != "Kind" && m.function != "Either" {
			t.Errorf("mutant %s", m)
		}
	}
	if len(changed.mutants) == 0 {
		t.Error("no mutant")
	}
	for _, bad := range []string{"sample.go:(", "other.go"} {
		if _, err := s.instrument([]string{bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func keys(mutants []mutant) []string {
	var out []string
	for _, m := range mutants {
		out = append(out, m.key())
	}
	return out
}

func TestWhatNoTestHoldsSurvives(t *testing.T) {
	mutants, survivors := survivorsOf(t, "^Test[^L]", "^TestLate")
	want := []string{
		"sample.go Grade: >= for > in `points > 50`",
		"sample.go Sum: false for `n == 0`",
		"sample.go Sum: without `continue`",
		"sample.go Sum: without `count++`",
	}
	if got := keys(survivors); !slices.Equal(got, want) {
		t.Errorf("survived\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, made := range []string{
		"sample.go Grade: || for && in `points > 50 && !late`",
		"sample.go Grade: true for `late`",
		"sample.go Grade: <= for < in `points < 0`",
		"sample.go Sum: without `for _, n := range numbers …`",
		"sample.go Sum: without `sum += n`",
		"sample.go Kind: nothing in `case string`",
		"sample.go Between: `at + 1` without the step",
		"sample.go Between: min for max in `max(1, 0)`",
		"sample.go Between: < for <= in `at <= to`",
		"sample.go Either: && for || in `a || b`",
	} {
		if !slices.Contains(keys(mutants), made) {
			t.Errorf("no mutant %q among\n%s", made, strings.Join(keys(mutants), "\n"))
		}
	}
}

func TestTestsMustPassWithoutMutants(t *testing.T) {
	r := runner{binary: "/bin/false", tests: []string{"."}, timeout: time.Second}
	if err := r.baseline(t.Context()); err == nil || !strings.Contains(err.Error(), "fail without any mutant") {
		t.Errorf("error %v", err)
	}
}

func TestSurvivorsAreAcceptedWithAReason(t *testing.T) {
	mutants := []mutant{{id: 1, file: "a.go", line: 3, function: "F", change: "true for `x`", repeat: 1},
		{id: 2, file: "a.go", line: 4, function: "F", change: "true for `x`", repeat: 2}}
	for _, c := range []struct {
		file      string
		survivors []mutant
		good      bool
		want      string
	}{
		{"", nil, true, "2 mutants: 2 noticed, 0 accepted, 0 survived"},
		{"", mutants[:1], false, "1 noticed, 0 accepted, 1 survived"},
		{"# remark\na.go F: true for `x`\n    x is always true\n", mutants[:1], true, "1 noticed, 1 accepted, 0 survived"},
		{"a.go F: true for `x`\n    why\n", mutants, false, "0 noticed, 1 accepted, 1 survived"},
		{"a.go F: true for `x`\n    why\n", nil, false, "there is no such survivor: a.go F: true for `x`"},
	} {
		path := filepath.Join(t.TempDir(), "accepted")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		accepted, err := readAccepted(path)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if good := report(&out, mutants, c.survivors, accepted, true); good != c.good || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %v, %s", c.file, good, out.String())
		}
	}
}

func TestAcceptingNeedsAReason(t *testing.T) {
	for text, want := range map[string]string{"a.go F: x\n": "accepted:1: no reason", "    why\n": "accepted:1: a reason without a mutant"} {
		path := filepath.Join(t.TempDir(), "accepted")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAccepted(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}
