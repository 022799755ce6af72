// Package report is how benchmarks say what they found: as a table for people and as JSON for programs, one result a line,
// with a peer's figure and a target beside it where there are any. Every benchmark of the repository uses it.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Result is one figure.
type Result struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Ours is what was measured here.
	Ours float64 `json:"ours"`
	// Peer is who measured the same elsewhere, and Theirs what they found, in the same unit.
	Peer   string   `json:"peer,omitempty"`
	Theirs *float64 `json:"theirs,omitempty"`
	// Ratio is how many times better ours is: Theirs over Ours where less is better, Ours over Theirs where more is.
	Ratio *float64 `json:"ratio,omitempty"`
	// Target says in words what is wanted, Met whether it is so; both are absent where nothing is.
	Target string `json:"target,omitempty"`
	Met    *bool  `json:"met,omitempty"`
	// Note has what else is worth knowing.
	Note string `json:"note,omitempty"`
}

// Beside puts a peer's figure next to ours, of which less is better.
func (r Result) Beside(peer string, theirs float64) Result {
	return r.beside(peer, theirs, theirs/r.Ours)
}

// BesideRate puts a peer's figure next to ours, of which more is better.
func (r Result) BesideRate(peer string, theirs float64) Result {
	return r.beside(peer, theirs, r.Ours/theirs)
}

func (r Result) beside(peer string, theirs, ratio float64) Result {
	r.Peer, r.Theirs = peer, &theirs
	if !math.IsInf(ratio, 0) && !math.IsNaN(ratio) {
		r.Ratio = &ratio
	}
	return r
}

// Below wants the figure under a limit.
func (r Result) Below(limit float64) Result {
	return r.wants(fmt.Sprintf("< %s %s", digits(limit), r.Unit), r.Ours < limit)
}

// AtMost wants the figure not above a limit, which words describe.
func (r Result) AtMost(limit float64, words string) Result { return r.wants(words, r.Ours <= limit) }

// AtLeast wants the figure not under a limit.
func (r Result) AtLeast(limit float64) Result {
	return r.wants(fmt.Sprintf(">= %s %s", digits(limit), r.Unit), r.Ours >= limit)
}

// Times wants ours so many times better than theirs.
func (r Result) Times(n float64) Result {
	return r.wants(fmt.Sprintf(">= %s times", digits(n)), r.Ratio != nil && *r.Ratio >= n)
}

func (r Result) wants(target string, met bool) Result {
	r.Target, r.Met = target, &met
	return r
}

// Report is what one benchmark found, and where.
type Report struct {
	Environment Environment `json:"environment"`
	Results     []Result    `json:"results"`
}

// Environment is what figures depend on.
type Environment struct {
	Machine  string `json:"machine"`
	Cores    int    `json:"cores"`
	Go       string `json:"go"`
	Revision string `json:"revision,omitempty"`
	Command  string `json:"command"`
	// Options are settings of the run, in words.
	Options string    `json:"options,omitempty"`
	At      time.Time `json:"at"`
}

// Here describes this machine and process.
func Here(options string) Environment {
	command := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	e := Environment{Machine: machine(), Cores: runtime.GOMAXPROCS(0), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Command: strings.Join(command, " "), Options: options, At: time.Now().UTC().Truncate(time.Second)}
	// A copy without its history simply has no revision.
	if revision, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		e.Revision = strings.TrimSpace(string(revision))
	}
	return e
}

// machine names the processor and the memory, as far as the system says.
func machine() string {
	name, memory := runtime.GOARCH, ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if value, found := field(string(text), "model name"); found {
			name = value
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib float64
		if value, found := field(string(text), "MemTotal"); found {
			if _, err := fmt.Sscan(value, &kib); err == nil {
				memory = fmt.Sprintf(", %.0f GiB", kib/(1<<20))
			}
		}
	}
	return fmt.Sprintf("%d x %s%s", runtime.NumCPU(), name, memory)
}

// field finds the first "key: value" line.
func field(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		k, v, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// WriteJSON writes the report.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Save writes the report into a file, and makes its folder where it is not there.
func (r Report) Save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("save the report: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save the report: %w", err)
	}
	defer file.Close()
	if err := r.WriteJSON(file); err != nil {
		return fmt.Errorf("save the report: %w", err)
	}
	return nil
}
