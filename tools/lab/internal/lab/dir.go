package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CheckDir refuses folders that a lab cannot live in: inside one that the nodes see their own version of (shadowed),
// or with other people's files in it, since taking the lab down removes the folder.
func CheckDir(dir string, shadowed []string) error {
	for _, s := range shadowed {
		if dir == s || strings.HasPrefix(dir, s+"/") {
			return fmt.Errorf("the lab's folder %s lies in %s, of which every node has its own version: choose another with --dir", dir, s)
		}
	}
	if strings.ContainsAny(dir, ":,\\ \t\n") {
		return fmt.Errorf("the lab's folder %q has a space, colon, comma or backslash in its path, which mount options cannot hold: choose another with --dir", dir)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the lab's folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "lab.json")); err != nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty and not a lab's: choose another with --dir", dir)
	}
	return nil
}
