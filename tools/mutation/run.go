package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// runner runs the tests of mutants.
type runner struct {
	binary, dir string
	tests       []string
	workers     int
	timeout     time.Duration
}

// baseline makes sure that the tests pass while no mutant is on.
func (r runner) baseline(ctx context.Context) error {
	for _, pattern := range r.tests {
		if out, err := r.test(ctx, 0, pattern); err != nil {
			return fmt.Errorf("the tests %s fail without any mutant: %w: %s", pattern, err, out)
		}
	}
	return nil
}

func (r runner) test(ctx context.Context, id int, pattern string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.binary, "-test.run", pattern, "-test.failfast")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), switchedBy+"="+strconv.Itoa(id), "GOMAXPROCS=1", "GOGC=400")
	return cmd.CombinedOutput()
}

// run gives the mutants that no test noticed, in their order, and tells each of them as soon as it is known.
func (r runner) run(ctx context.Context, mutants []mutant, tell func(mutant)) []mutant {
	var (
		group     sync.WaitGroup
		lock      sync.Mutex
		survivors []mutant
	)
	next := make(chan mutant)
	for range r.workers {
		group.Go(func() {
			for m := range next {
				if r.survives(ctx, m) {
					lock.Lock()
					survivors = append(survivors, m)
					tell(m)
					lock.Unlock()
				}
			}
		})
	}
	for n, m := range mutants {
		if tenth := len(mutants)/10 + 1; n > 0 && n%tenth == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d mutants\n", n, len(mutants))
		}
		if ctx.Err() != nil {
			break
		}
		next <- m
	}
	close(next)
	group.Wait()
	slices.SortFunc(survivors, func(a, b mutant) int { return a.id - b.id })
	return survivors
}

func (r runner) survives(ctx context.Context, m mutant) bool {
	for _, pattern := range r.tests {
		if _, err := r.test(ctx, m.id, pattern); err != nil {
			return false
		}
	}
	return true
}
