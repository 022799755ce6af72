// Command mutation asks how much the tests of a package notice. It makes many small changes to chosen files, the mutants,
// and runs the tests against each: a mutant that no test fails on has survived, and shows behaviour that nothing holds.
//
//	mutation --accepted accepted.txt --test ^TestSpec$ --test ^TestRandom ../../libs/clas labels.go "selector.go:and|holds"
//
// All mutants are compiled into one test binary, in which an environment variable switches one of them on; so a mutant
// costs a run of the tests and no build. The source itself is never touched: the binary is built with an overlay.
//
// It is a tool of our own because go-gremlins copies the module to a place where its siblings are missing, takes the failing
// builds for noticed mutants, and leaves out no statement.
//
// A mutant that changes no behaviour cannot be noticed. The file of accepted mutants names such ones, each with its reason;
// an entry of which the mutant is gone, or is noticed after all, is reported, too. The exit code is 1 when anything was.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/alecthomas/kong"
)

type command struct {
	Package  string         `arg:"" help:"Directory of the package." type:"existingdir"`
	Files    []string       `arg:"" help:"Its files to mutate, each perhaps with a pattern of functions: labels.go:resolve|refuses."`
	Test     []string       `help:"Pattern of the tests that must notice. Of several, the later ones run for what the earlier did not notice." required:""`
	Accepted string         `help:"File of mutants that are known to survive, with their reasons." type:"existingfile"`
	Workers  int            `help:"How many tests run at the same time; 0 for as many as there are processors."`
	Timeout  time.Duration  `help:"How long the tests of one mutant may take; a mutant that takes longer was noticed." default:"60s"`
	List     bool           `help:"Only list the mutants."`
	Only     *regexp.Regexp `help:"Run only mutants of which the line of the report matches this; the accepted ones are then not checked."`
}

func main() {
	var c command
	k := kong.Parse(&c, kong.Name("mutation"), kong.UsageOnError(), kong.Description("Tests the tests of a package by mutants."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	noticed, err := c.run(ctx)
	stop()
	k.FatalIfErrorf(err)
	if !noticed {
		os.Exit(1)
	}
}

// run reports whether all mutants were noticed or accepted.
func (c command) run(ctx context.Context) (bool, error) {
	accepted, err := readAccepted(c.Accepted)
	if err != nil {
		return false, err
	}
	source, err := load(ctx, c.Package)
	if err != nil {
		return false, err
	}
	changed, err := source.instrument(c.Files)
	if err != nil {
		return false, err
	}
	mutants := matching(changed.mutants, c.Only)
	if c.List {
		for _, m := range mutants {
			fmt.Println(m)
		}
		return true, nil
	}
	work, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	binary := filepath.Join(work, "mutants.test")
	if err := changed.build(ctx, work, binary); err != nil {
		return false, err
	}
	if c.Workers == 0 {
		c.Workers = runtime.NumCPU()
	}
	r := runner{binary: binary, dir: c.Package, tests: c.Test, workers: c.Workers, timeout: c.Timeout}
	if err := r.baseline(ctx); err != nil {
		return false, err
	}
	survivors := r.run(ctx, mutants, func(m mutant) {
		if !slices.ContainsFunc(accepted, func(a acceptance) bool { return a.key == m.key() }) {
			fmt.Printf("survived: %s\n", m)
		}
	})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return report(os.Stdout, mutants, survivors, accepted, c.Only == nil), nil
}
