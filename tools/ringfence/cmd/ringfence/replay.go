package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type replayCommand struct {
	place  `embed:""`
	output `embed:""`
	Policy bool `help:"Print all of the policy: rules, address sets, plans."`
}

// Help gives the example.
func (replayCommand) Help() string {
	return `Without a bound, on a running log, the digest is compared with that of the live policy; exit code 4 when they differ.

Examples:

    ringfence replay --time 10m --policy
    ringfence replay --file shop.jsonl.gz --seq 40 -o json`
}

// replayed is what the command prints as JSON.
type replayed struct {
	Incarnation        string        `json:"incarnation"`
	First              uint64        `json:"first"`
	Sequence           uint64        `json:"sequence"`
	Facts              uint64        `json:"facts"`
	StoredAt           time.Time     `json:"stored_at"`
	Engine             string        `json:"engine"`
	ProvisionedVersion int64         `json:"provisioned_version"`
	Digest             string        `json:"digest"`
	Live               *liveState    `json:"live,omitempty"` // only where it was compared
	Policies           []policyState `json:"policies"`
	Sets               []setState    `json:"sets"`
	Plans              []planState   `json:"plans"`
	Namespaces         []modeState   `json:"namespaces"`
	Warnings           []string      `json:"warnings"`
	Refused            []string      `json:"refused"`
	Damage             []string      `json:"damage"`
}

type liveState struct {
	Digest string `json:"digest"`
	Engine string `json:"engine"`
	Window uint64 `json:"window"`
	Equal  bool   `json:"equal"`
}

// Run folds and prints.
func (c *replayCommand) Run(s *session) error {
	r, live, err := s.fold(c.place)
	if err != nil {
		return err
	}
	result := replayedFrom(r, live, c.Policy)
	if c.json() {
		err = s.printJSON(result)
	} else {
		s.printReplay(result, c.Policy)
	}
	if err == nil && live != nil && !live.Equal {
		return differ(result)
	}
	return err
}

func replayedFrom(r *ringfence.Replay, live *ringfence.Live, whole bool) replayed {
	policy := r.Engine.Policy()
	result := replayed{
		Incarnation: r.Incarnation, First: r.First, Sequence: r.Last, Facts: r.Facts, StoredAt: r.StoredAt.UTC(),
		Engine: clas.Version, ProvisionedVersion: policy.ProvisionedVersion, Digest: r.Engine.Digest(),
		Policies: policyStates(policy, whole), Sets: setStates(policy, whole), Plans: planStates(policy, whole),
		Namespaces: modeStates(policy), Warnings: listed(policy.Warnings), Refused: listed(r.Refused), Damage: listed(r.Damage),
	}
	if live != nil {
		result.Live = &liveState{Digest: live.Head.GetDigest(), Engine: live.Head.GetEngine(), Window: live.Head.GetWindow(), Equal: live.Equal}
	}
	return result
}

// listed makes of no lines an empty list, which JSON shows as one.
func listed(lines []string) []string { return append([]string{}, lines...) }

// differ says what to make of two digests.
func differ(r replayed) error {
	if r.Live.Engine != r.Engine {
		return fmt.Errorf("%w, which %s computed while this is %s: replay with the version that runs in the cluster", errDiffer, r.Live.Engine, r.Engine)
	}
	return fmt.Errorf("%w: keep the log (ringfence export -O FILE) and report it; a restart of policy-store computes the policy anew", errDiffer)
}

func (s *session) printReplay(r replayed, whole bool) {
	fmt.Fprintf(s.stdout, "log        %d facts up to sequence %d, stored %s, incarnation %s\n", r.Facts, r.Sequence, r.StoredAt.Format(time.RFC3339), r.Incarnation)
	fmt.Fprintf(s.stdout, "policy     provisioned version %d\n", r.ProvisionedVersion)
	fmt.Fprintf(s.stdout, "digest     %s by %s\n", r.Digest, r.Engine)
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
