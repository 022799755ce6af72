package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() Report {
	return Report{Environment: Here("scale 1"), Results: []Result{
		Result{Name: "fold", Unit: "s", Ours: 0.25}.Beside("somebody", 7.5).Times(20),
		Result{Name: "heap", Unit: "MB", Ours: 130}.Below(120),
		{Name: "plan", Unit: "us", Ours: 3.25, Note: "3 pods"},
	}}
}

// TestJSONHasTheKeys that programs read.
func TestJSONHasTheKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out", "bench", "engine.json")
	if err := sample().Save(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results []map[string]any `json:"results"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"name": "fold", "unit": "s", "ours": 0.25, "peer": "somebody", "theirs": 7.5, "ratio": 30.0, "target": ">= 20 times", "met": true} {
		if got.Results[0][key] != want {
			t.Errorf("%s is %v, want %v", key, got.Results[0][key], want)
		}
	}
	if got.Results[1]["met"] != false || got.Results[1]["target"] != "< 120 MB" {
		t.Errorf("a missed target is %v", got.Results[1])
	}
	if _, has := got.Results[2]["met"]; has {
		t.Error("where nothing is wanted, nothing can be met")
	}
}

func TestTableNamesWhatWasMissed(t *testing.T) {
	var out bytes.Buffer
	if err := sample().WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.25 s", "7.5 s", "30", "1 of 2 targets met. Missed:\n  heap: 130 MB, wanted < 120 MB", "3 pods", "scale 1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

// TestDocument replaces what lies between the marks, and nothing else.
func TestDocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := os.WriteFile(file, []byte("# Head\n<!-- engine: begin -->\nyesterday\n<!-- engine: end -->\ntail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sample().Document(file, "engine"); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{"# Head\n", "\ntail\n", "| fold | 0.25 s | 7.5 s | 30 | >= 20 times | yes |  |\n", "| plan | 3.25 us | 3 pods |\n"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times:\n%s", want, strings.Count(text, want), text)
		}
	}
	if strings.Contains(text, "yesterday") {
		t.Error("the old report is still there")
	}
	if err := sample().Document(file, "tables"); err == nil {
		t.Error("a document without the marks was written to")
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.012345: "0.0123", 1.5: "1.5", 12: "12", 123.4: "123", 12345: "12345", 0.5: "0.5", -2.345: "-2.35"} {
		if got := digits(v); got != want {
			t.Errorf("digits(%v) is %s, want %s", v, got, want)
		}
	}
}
