package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type replayCommand struct {
	at     `embed:""`
	output `embed:""`
	Policy bool `help:"Print all of the policy: rules, address sets, plans."`
}

// Help gives the example.
func (replayCommand) Help() string {
	return `The fold begins with the newest snapshot at or before the place that proves good, or else with the start of the log; the
output says which. Without a place, on a running log, the digest is compared with that of the live policy, and at the end of an
exported log with the one that the export wrote down; exit code 4 when they differ.

Examples:

    ringfence replay --at 2026-01-31T12:30:00Z --policy
    ringfence replay --file incident.rflog --at 1042 -o json`
}

// replayed is what the command prints as JSON.
type replayed struct {
	Incarnation        string        `json:"incarnation"`
	Sequence           uint64        `json:"sequence"`
	StoredAt           time.Time     `json:"stored_at"`
	Start              startState    `json:"start"`
	Engine             string        `json:"engine"`
	ProvisionedVersion int64         `json:"provisioned_version"`
	Digest             string        `json:"digest"`
	Live               *liveState    `json:"live,omitempty"`     // only where it was compared
	Promised           string        `json:"promised,omitempty"` // the digest that the export wrote down
	Policies           []policyState `json:"policies"`
	Sets               []setState    `json:"sets"`
	Plans              []planState   `json:"plans"`
	Namespaces         []modeState   `json:"namespaces"`
	Warnings           []string      `json:"warnings"`
	Refused            []string      `json:"refused"`
}

// startState says what the fold began with.
type startState struct {
	Snapshot uint64   `json:"snapshot"` // its sequence; 0 is the start of the log
	Engine   string   `json:"engine,omitempty"`
	Verified bool     `json:"verified"`
	Facts    uint64   `json:"facts"` // that were folded after it
	SetAside []string `json:"set_aside"`
}

type liveState struct {
	Digest string `json:"digest"`
	Engine string `json:"engine"`
	Window uint64 `json:"window"`
	Equal  bool   `json:"equal"`
}

// Run folds and prints.
func (c *replayCommand) Run(s *session) error {
	f, err := s.fold(c.at)
	if err != nil {
		return err
	}
	result := replayedFrom(f, c.Policy)
	if c.json() {
		err = s.printJSON(result)
	} else {
		s.printReplay(result, c.Policy)
	}
	switch {
	case err != nil:
		return err
	case f.live != nil && !f.live.Equal:
		return differ(result)
	case result.Promised != "" && result.Promised != result.Digest:
		return fmt.Errorf("%w: the export wrote down %s; keep the file and report it", errDiffer, result.Promised)
	}
	return nil
}

func replayedFrom(r folded, whole bool) replayed {
	policy := r.Engine.Policy()
	result := replayed{
		Incarnation: r.Incarnation, Sequence: r.Sequence, StoredAt: r.StoredAt.UTC(), Start: startOf(r.Start, r.Facts),
		Engine: clas.Version, ProvisionedVersion: policy.ProvisionedVersion, Digest: r.Engine.Digest(),
		Policies: policyStates(policy, whole), Sets: setStates(policy, whole), Plans: planStates(policy, whole),
		Namespaces: modeStates(policy), Warnings: listed(policy.Warnings), Refused: listed(r.Refused), Promised: r.promised,
	}
	if live := r.live; live != nil {
		result.Live = &liveState{Digest: live.Head.GetDigest(), Engine: live.Head.GetEngine(), Window: live.Head.GetWindow(), Equal: live.Equal}
	}
	return result
}

func startOf(start ringfence.Start, facts uint64) startState {
	return startState{Snapshot: start.Snapshot, Engine: start.Engine, Verified: start.Verified, Facts: facts, SetAside: listed(start.SetAside)}
}

func (s startState) String() string {
	switch {
	case s.Snapshot == 0:
		return fmt.Sprintf("the start of the log, then %d facts", s.Facts)
	case !s.Verified:
		return fmt.Sprintf("snapshot at %d, whose digest %s computed and cannot be compared, then %d facts", s.Snapshot, s.Engine, s.Facts)
	}
	return fmt.Sprintf("snapshot at %d, verified, then %d facts", s.Snapshot, s.Facts)
}

// listed makes of no lines an empty list, which JSON shows as one.
func listed(lines []string) []string { return append([]string{}, lines...) }

// differ says what to make of two digests.
func differ(r replayed) error {
	if r.Live.Engine != r.Engine {
		return fmt.Errorf("%w, which %s computed while this is %s: replay with the version that runs in the cluster", errDiffer, r.Live.Engine, r.Engine)
	}
	return fmt.Errorf("%w: keep the log (ringfence export FILE) and report it; a restart of policy-store computes the policy anew", errDiffer)
}

func (s *session) printReplay(r replayed, whole bool) {
	fmt.Fprintf(s.stdout, "log        sequence %d, stored %s, incarnation %s\n", r.Sequence, stamp(r.StoredAt), r.Incarnation)
	fmt.Fprintf(s.stdout, "start      %s\n", r.Start)
	fmt.Fprintf(s.stdout, "policy     provisioned version %d\n", r.ProvisionedVersion)
	fmt.Fprintf(s.stdout, "digest     %s by %s\n", r.Digest, r.Engine)
	if r.Promised != "" && r.Promised == r.Digest {
		fmt.Fprintln(s.stdout, "export     equal to the digest that the export wrote down")
	}
	if r.Live != nil && r.Live.Equal {
		fmt.Fprintf(s.stdout, "live       equal to the live policy (window %d)\n", r.Live.Window)
	} else if r.Live != nil {
		fmt.Fprintf(s.stdout, "live       DIFFERS from the live policy (window %d): %s by %s\n", r.Live.Window, r.Live.Digest, r.Live.Engine)
	}
	s.printPolicies(r.Policies, whole)
	s.printSets(r.Sets, whole)
	s.printPlans(r.Plans, whole)
	s.printNamespaces(r.Namespaces)
	for _, warning := range r.Warnings {
		fmt.Fprintf(s.stdout, "\nwarning    %s", warning)
	}
	if len(r.Warnings) > 0 {
		fmt.Fprintln(s.stdout)
	}
}

func joinLabels(labels []string) string {
	if len(labels) == 0 {
		return "(no labels)"
	}
	return strings.Join(labels, " ")
}

// stamp gives a time as people read it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "at a time that is not known"
	}
	return t.UTC().Format(time.RFC3339)
}
