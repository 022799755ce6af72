// Package soak says how long random tests run and from which seed, so that the gate's short run, a long run by hand and
// the repetition of a failure are the same test. It is for tests only.
package soak

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Time is how long a random test runs: RINGFENCE_RANDOM_TIME, or 5 s where that is unset.
func Time(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("RINGFENCE_RANDOM_TIME")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("RINGFENCE_RANDOM_TIME: %v", err)
	}
	return d
}

// Seed is RINGFENCE_SEED, or 1 where that is unset. A failing test prints it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("RINGFENCE_SEED")
	if text == "" {
		return 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("RINGFENCE_SEED: %v", err)
	}
	return seed
}
