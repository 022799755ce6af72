package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// acceptance is a mutant that may survive, and why.
type acceptance struct {
	key, reason string
	line        int
}

// readAccepted reads a file of accepted mutants: a line with the key of each, and below it, indented, the reason. Lines that
// begin with # are remarks. Without a file nothing is accepted.
func readAccepted(path string) ([]acceptance, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []acceptance
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] != ' ':
			out = append(out, acceptance{key: line, line: n})
		case len(out) == 0:
			return nil, fmt.Errorf("%s:%d: a reason without a mutant", path, n)
		default:
			out[len(out)-1].reason += strings.TrimSpace(line) + " "
		}
	}
	for _, a := range out {
		if a.reason == "" {
			return nil, fmt.Errorf("%s:%d: no reason why the mutant may survive", path, a.line)
		}
	}
	return out, scanner.Err()
}

// report sums up what survived and tells whether all is well. Entries of the accepted file are checked where all mutants ran.
func report(w io.Writer, mutants, survivors []mutant, accepted []acceptance, all bool) bool {
	known, survived := map[string]bool{}, map[string]bool{}
	for _, a := range accepted {
		known[a.key] = true
	}
	unexpected := 0
	for _, m := range survivors {
		survived[m.key()] = true
		if !known[m.key()] {
			unexpected++
		}
	}
	stale := 0
	for _, a := range accepted {
		if all && !survived[a.key] {
			stale++
			fmt.Fprintf(w, "accepted, but there is no such survivor: %s\n", a.key)
		}
	}
	fmt.Fprintf(w, "%d mutants: %d noticed, %d accepted, %d survived\n", len(mutants), len(mutants)-len(survivors), len(survivors)-unexpected, unexpected)
	return unexpected+stale == 0
}
