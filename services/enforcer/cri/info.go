package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// info is the part of a sandbox' verbose status that matters here. containerd and CRI-O write the same shape: the OCI
// runtime specification under runtimeSpec, and the process of the sandbox under pid.
type info struct {
	PID         int `json:"pid"`
	RuntimeSpec struct {
		Linux struct {
			Namespaces []struct {
				Type string `json:"type"`
				Path string `json:"path"`
			} `json:"namespaces"`
		} `json:"linux"`
	} `json:"runtimeSpec"`
}

// netnsPaths reads where the network namespace is: the path that the runtime was given, then the sandbox' process, for
// when the path is not visible in our mount namespace.
func netnsPaths(text string) ([]string, error) {
	if text == "" {
		return nil, errors.New("the runtime gave no verbose info")
	}
	var i info
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		return nil, fmt.Errorf("read the verbose info: %w", err)
	}
	var paths []string
	for _, ns := range i.RuntimeSpec.Linux.Namespaces {
		if ns.Type != "network" || ns.Path == "" {
			continue
		}
		if !filepath.IsAbs(ns.Path) {
			return nil, fmt.Errorf("read the verbose info: network namespace %q is not an absolute path", ns.Path)
		}
		paths = append(paths, filepath.Clean(ns.Path))
	}
	if i.PID > 0 {
		paths = append(paths, podnetns.PathOfProcess(i.PID))
	}
	if len(paths) == 0 {
		return nil, errors.New("the verbose info names neither a network namespace nor a process")
	}
	return paths, nil
}
