package ringfence_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/ringfence"
)

func shopLines(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n")
}

// readAll reads a whole file: its header, its facts, what is damaged, and the error that ended it.
func readAll(data []byte) (header ringfence.Header, facts []eventlog.Entry, damage []string, err error) {
	reader, err := ringfence.NewReader(bytes.NewReader(data))
	if err != nil {
		return header, nil, nil, err
	}
	for e, err := range reader.Entries() {
		if err != nil {
			return reader.Header, facts, nil, err
		}
		facts = append(facts, e)
	}
	return reader.Header, facts, reader.Damage(), nil
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	file, err := os.ReadFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plain": file, "gzip": packed.Bytes()} {
		t.Run(name, func(t *testing.T) {
			header, facts, damage, err := readAll(data)
			if err != nil || len(damage) > 0 {
				t.Fatalf("error %v, damage %q", err, damage)
			}
			if header.Format != ringfence.Format || header.Incarnation != "shop" || header.Last != 34 {
				t.Errorf("header %+v", header)
			}
			if diff := cmp.Diff(shop(t), facts, protocmp.Transform()); diff != "" {
				t.Errorf("facts differ: %s", diff)
			}
		})
	}
}

// TestDamageIsNamedAndTheRestIsRead takes a good file and damages it.
func TestDamageIsNamedAndTheRestIsRead(t *testing.T) {
	lines := shopLines(t)
	n := len(lines)
	for _, c := range []struct {
		name, file, damage string
		facts              int
	}{
		{"no end line", strings.Join(lines[:n-1], ""), "truncated: the end line is missing after 34 whole facts", 34},
		{"cut within a fact", strings.Join(lines[:10], "") + lines[10][:40], "truncated: line 11 is cut off after 9 whole facts", 9},
		{"cut within the end line", strings.Join(lines[:n-1], "") + lines[n-1][:20], "truncated: line 36 is cut off", 34},
		{"a byte changed", strings.Replace(strings.Join(lines, "")+"\n", "10.0.1.9", "10.0.1.8", 1), "altered: it holds 34 facts", 34},
		{"a fact taken out", strings.Join(slices.Delete(slices.Clone(lines), 5, 6), "") + "\n", "altered: it holds 33 facts", 33},
		{"header changed", strings.Replace(strings.Join(lines, "")+"\n", `"shop"`, `"shoe"`, 1), "altered: it holds 34 facts", 34},
		{"more after the end", strings.Join(lines, "") + "\n" + lines[1], "altered: more follows its end line, line 36", 34},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, facts, damage, err := readAll([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if len(damage) != 1 || !strings.HasPrefix(damage[0], c.damage) {
				t.Errorf("damage %q, want one that begins with %q", damage, c.damage)
			}
			if len(facts) != c.facts {
				t.Errorf("%d facts, want %d", len(facts), c.facts)
			}
		})
	}
}

func TestDamageIsSeenBehindTheLastFactThatWasRead(t *testing.T) {
	file := strings.Replace(strings.Join(shopLines(t), "")+"\n", "10.0.1.3", "10.0.1.4", 1)
	reader, err := ringfence.NewReader(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range reader.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if damage := reader.Damage(); len(damage) != 1 || !strings.HasPrefix(damage[0], "altered") {
		t.Errorf("damage %q, want altered", damage)
	}
}

// TestWhatIsNoFactIsRefused puts a bad line in the place of the sixth fact.
func TestWhatIsNoFactIsRefused(t *testing.T) {
	lines := shopLines(t)
	with := func(bad string) string {
		changed := slices.Clone(lines)
		changed[6] = bad + "\n"
		return strings.Join(changed, "")
	}
	for _, c := range []struct{ name, file, want string }{
		{"no JSON", with(`{"sequence":6,"subject":"facts.pce.label.6",}`), `line 7 ("facts.pce.label.6")`},
		{"no JSON and no subject", with("garbage"), `line 7 ("no subject")`},
		{"unknown field of a fact", with(strings.Replace(lines[6], "href", "hurf", 1)), `line 7 ("facts.pce.label.6"): fact`},
		{"no fact", with(`{"sequence":6,"subject":"facts.pce.label.6"}`), `line 7 ("facts.pce.label.6"): no field "fact"`},
		{"no body", with(`{"sequence":6,"subject":"facts.pce.label.6","fact":{"counter":"1"}}`), `line 7 ("facts.pce.label.6"): fact: no body`},
		{"no subject", with(`{"sequence":6,"fact":{}}`), `line 7: subject "" is not one of facts`},
		{"subject of another stream", with(`{"sequence":6,"subject":"plan.node-1","fact":{}}`), `line 7: subject "plan.node-1" is not one of facts`},
		{"sequence again", with(strings.TrimSuffix(lines[5], "\n")), `line 7 ("facts.pce.label.5"): sequence 5 does not follow 5`},
		{"no end to a line", with(strings.Repeat("x", 17<<20)), "line 7: longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, facts, _, err := readAll([]byte(c.file))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Fatalf("error %v, want one that begins with %q", err, c.want)
			}
			if len(facts) != 5 {
				t.Errorf("%d facts before the error, want 5", len(facts))
			}
		})
	}
}

func TestWhatIsNoLogIsRefused(t *testing.T) {
	for name, file := range map[string]string{
		"empty":        "",
		"half a line":  `{"format":"ringfence-log/1"`,
		"other JSON":   "{}\n",
		"no JSON":      "hello\n",
		"newer format": `{"format":"ringfence-log/2"}` + "\n",
		"broken gzip":  "\x1f\x8b and then nothing",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ringfence.NewReader(strings.NewReader(file)); !errors.Is(err, ringfence.ErrNotALog) {
				t.Errorf("error %v, want ErrNotALog", err)
			}
		})
	}
}

// FuzzReader reads anything. What is read without error and damage must be written and read again the same.
func FuzzReader(f *testing.F) {
	lines := shopLines(f)
	f.Add([]byte(strings.Join(lines, "") + "\n"))
	f.Add([]byte(strings.Join(lines[:4], "")))
	f.Add([]byte(lines[0] + lines[1][:50]))
	f.Add([]byte(lines[0] + `{"end":true}` + "\n" + lines[1]))
	f.Add([]byte(lines[0] + `{"sequence":1,"subject":"facts.x.y","fact":{"gone":{}}}` + "\n"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		header, facts, _, err := readAll(data)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		var again bytes.Buffer
		if _, err := ringfence.Write(&again, header, sequence(facts)); err != nil {
			return // a time beyond year 9999 reads and does not write
		}
		_, same, damage, err := readAll(again.Bytes())
		if err != nil || len(damage) > 0 {
			t.Fatalf("what was written cannot be read: %v %q\n%s", err, damage, again.Bytes())
		}
		if diff := cmp.Diff(facts, same, protocmp.Transform()); diff != "" {
			t.Fatalf("read again it differs: %s", diff)
		}
	})
}
