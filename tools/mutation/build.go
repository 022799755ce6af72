package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// switches is a file of the instrumented package: what its mutants call. One is on at a time.
const switches = `package %s

import (
	"cmp"
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv(%q))

func mutantIs(id int) bool    { return id == mutantOn }
func mutantIsNot(id int) bool { return id != mutantOn }

func mutantBool(isTrue, isFalse int, v bool) bool {
	switch mutantOn {
	case 0:
		return v
	case isTrue:
		return true
	case isFalse:
		return false
	}
	return v
}

func mutantAnd(id int, a bool, b func() bool) bool {
	if id == mutantOn {
		return a || b()
	}
	return a && b()
}

func mutantOr(id int, a bool, b func() bool) bool {
	if id == mutantOn {
		return a && b()
	}
	return a || b()
}

func mutantLess[T cmp.Ordered](id int, a, b T) bool    { return a < b || id == mutantOn && a == b }
func mutantAtMost[T cmp.Ordered](id int, a, b T) bool  { return a < b || id != mutantOn && a == b }
func mutantMore[T cmp.Ordered](id int, a, b T) bool    { return a > b || id == mutantOn && a == b }
func mutantAtLeast[T cmp.Ordered](id int, a, b T) bool { return a > b || id != mutantOn && a == b }

func mutantStep[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64](id int) T {
	if id == mutantOn {
		return 0
	}
	return 1
}

func mutantMax[T cmp.Ordered](id int, a, b T) T {
	if id == mutantOn {
		return min(a, b)
	}
	return max(a, b)
}

func mutantMin[T cmp.Ordered](id int, a, b T) T {
	if id == mutantOn {
		return max(a, b)
	}
	return min(a, b)
}
`

// switchedBy is the environment variable that holds the number of the mutant that is on.
const switchedBy = "MUTATION_MUTANT"

// build compiles the package's tests with all mutants in it.
func (p *instrumented) build(ctx context.Context, work, binary string) error {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(name string, text []byte) error {
		overlay.Replace[filepath.Join(p.dir, name)] = filepath.Join(work, name)
		return os.WriteFile(filepath.Join(work, name), text, 0o600)
	}
	for name, text := range p.replaced {
		if err := add(name, text); err != nil {
			return err
		}
	}
	if err := add("mutation_switches.go", fmt.Appendf(nil, switches, p.name, switchedBy)); err != nil {
		return err
	}
	encoded, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	list := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(list, encoded, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, ".")
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the mutants of %s: %w: %s", p.dir, err, out)
	}
	return nil
}
