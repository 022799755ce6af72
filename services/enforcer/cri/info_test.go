package cri

import (
	"path/filepath"
	"testing"
)

func FuzzInfo(f *testing.F) {
	f.Add(`{"pid":42,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/cni-1"}]}}}`)
	f.Add(`{"pid":-1,"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"../x"}]}}}`)
	f.Add(`{"pid":"x"}`)
	f.Add(`[]`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := netnsPaths(text)
		if (err == nil) != (len(paths) > 0) {
			t.Fatalf("%d paths and error %v", len(paths), err)
		}
		for _, p := range paths {
			if !filepath.IsAbs(p) || p != filepath.Clean(p) {
				t.Errorf("path %q", p)
			}
		}
	})
}
