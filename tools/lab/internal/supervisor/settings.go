package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// Settings are what 'lab up' decided. They are kept in the lab's folder, as lab.json; that file marks the folder as
// a lab's.
type Settings struct {
	Dir         string   `json:"dir"`    // absolute
	Bin         string   `json:"bin"`    // folder of the programs
	CNI         string   `json:"cni"`    // folder of the CNI plugins
	Images      []string `json:"images"` // archives that every node starts with
	Nodes       int      `json:"nodes"`
	Listen      string   `json:"listen"` // host:port on the machine's loopback
	NRIRequired bool     `json:"nri_required"`
}

// SettingsFile is the path of the settings of the lab in dir.
func SettingsFile(dir string) string { return filepath.Join(dir, "lab.json") }

// Load reads the settings of the lab in dir.
func Load(dir string) (Settings, error) {
	var s Settings
	text, err := os.ReadFile(SettingsFile(dir))
	if err != nil {
		return s, fmt.Errorf("read the lab's settings: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the lab's settings %s: %w", SettingsFile(dir), err)
	}
	return s, nil
}

// Save writes the settings.
func (s Settings) Save() error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the lab's settings: %w", err)
	}
	if err := os.WriteFile(SettingsFile(s.Dir), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the lab's settings: %w", err)
	}
	return nil
}

func (s Settings) cluster() (config.Cluster, error) {
	nodes, err := topology.Nodes(s.Nodes)
	if err != nil {
		return config.Cluster{}, err
	}
	return config.Cluster{Name: topology.LabName(s.Dir), Dir: s.Dir, Bin: s.Bin, Nodes: nodes, NRIRequired: s.NRIRequired}, nil
}

// File descriptors that the supervisor is started with.
const (
	FDServer   = 3 // listening TCP socket on the machine's loopback, forwarded to the API server
	FDControl  = 4 // listening control socket
	FDProgress = 5 // pipe to 'lab up'
)

// Progress is one line on the progress pipe: a step that was done, or how it ended.
type Progress struct {
	Step  string `json:"step,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

// ReadProgress calls step for each step until the lab is ready (nil) or failed (the reason).
func ReadProgress(r io.Reader, step func(string)) error {
	lines := json.NewDecoder(r)
	for {
		var p Progress
		err := lines.Decode(&p)
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the supervisor ended before the lab was up")
		case err != nil:
			return fmt.Errorf("read the supervisor's progress: %w", err)
		case p.Error != "":
			return errors.New(p.Error)
		case p.Ready:
			return nil
		}
		step(p.Step)
	}
}
