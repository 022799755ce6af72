package load

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// Nodes are enforcers without a datapath: each follows the policy of a node on a connection of its own, by the code that
// enforcers use, keeps what it was given, and notes when.
//
// It says "ready" when all are connected. Then it reads a request on each line, and answers on a line of JSON:
//
//	until N    waits until every node has the policy of sequence N or later: [Arrived]
//	cut        breaks the connection of every tenth node, which connects and joins anew by itself: [Arrived], at the time of it
//	arrivals   the windows that came since the last such request: [Arrivals]
//	states     what every node holds now: [States]
//
// It ends with its input.
type Nodes struct {
	Client
	// From and To are the numbers of the nodes, the last not included.
	From, To int

	mu    sync.Mutex
	nodes []nodeSeen
	// came is, by version, when the last of the nodes got a state of that version, and how many got it.
	came map[uint64]Arrival
	// deliveries counts all states that were given to nodes.
	deliveries int
}

// nodeSeen is what one node has.
type nodeSeen struct {
	policy  eventlog.NodePolicy
	version uint64
	at      time.Time
}

// Arrival is when the last node got a version, in nanoseconds since 1970, and how many nodes were given just that one.
type Arrival struct {
	Version uint64 `json:"version"`
	At      int64  `json:"at"`
	Nodes   int    `json:"nodes"`
}

// Arrived is an answer to until and cut.
type Arrived struct {
	At int64 `json:"at"`
	// Fewest and Most are the numbers of address sets that nodes hold.
	Fewest int `json:"fewest_sets"`
	Most   int `json:"most_sets"`
}

// Arrivals is an answer to arrivals.
type Arrivals struct {
	Windows    []Arrival `json:"windows"`
	Deliveries int       `json:"deliveries"`
	// Bytes and Messages are what the connections received since they were opened.
	Bytes    uint64 `json:"bytes"`
	Messages uint64 `json:"messages"`
}

// States is an answer to states: a hash of every node's plan and, by id, of every set and policy that any of them holds. Where
// two nodes hold different content under one id, Differ names it.
type States struct {
	Plans   map[string]string `json:"plans"`
	Objects map[string]string `json:"objects"`
	Differ  []string          `json:"differ,omitempty"`
}

// Run follows until the input ends.
func (n *Nodes) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	n.nodes, n.came = make([]nodeSeen, n.To-n.From), map[uint64]Arrival{}
	connections, err := n.connect(ctx, n.To-n.From)
	defer func() {
		for _, nc := range connections {
			nc.Close()
		}
	}()
	if err != nil {
		return err
	}
	for i, nc := range connections {
		all.Go(func() {
			// The error is that of ctx, which ends with the input.
			_ = eventlog.Follow(ctx, nc, workload.NodeName(n.From+i), func(_ context.Context, p eventlog.NodePolicy) error {
				n.take(i, p)
				return nil
			})
		})
	}
	if _, err := fmt.Fprintln(n.Out, "ready"); err != nil {
		return fmt.Errorf("say that the nodes are ready: %w", err)
	}
	return n.serve(ctx, connections)
}

// take keeps a state that a node was given. A version counts as arrived at a node with the first state that is not older.
func (n *Nodes) take(node int, p eventlog.NodePolicy) {
	now := time.Now()
	version := p.Version.GetSequence()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliveries++
	seen := &n.nodes[node]
	seen.policy = p
	if version <= seen.version {
		return
	}
	seen.version, seen.at = version, now
	a := n.came[version]
	n.came[version] = Arrival{Version: version, At: max(a.At, now.UnixNano()), Nodes: a.Nodes + 1}
}

func (n *Nodes) serve(ctx context.Context, connections []*nats.Conn) error {
	in, out := bufio.NewReader(n.In), json.NewEncoder(n.Out)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		answer, err := n.answer(ctx, strings.TrimSpace(line), connections)
		if err == nil {
			err = out.Encode(answer)
		}
		if err != nil {
			return fmt.Errorf("request %q: %w", strings.TrimSpace(line), err)
		}
	}
}

func (n *Nodes) answer(ctx context.Context, request string, connections []*nats.Conn) (any, error) {
	word, rest, _ := strings.Cut(request, " ")
	switch word {
	case "until":
		var version uint64
		if _, err := fmt.Sscan(rest, &version); err != nil {
			return nil, err
		}
		return n.until(ctx, version)
	case "cut":
		at := time.Now()
		for i, nc := range connections {
			if i%10 == 0 {
				if err := nc.ForceReconnect(); err != nil {
					return nil, err
				}
			}
		}
		return Arrived{At: at.UnixNano()}, nil
	case "arrivals":
		return n.arrivals(connections), nil
	case "states":
		return n.states()
	}
	return nil, errors.New("there are until, cut, arrivals and states")
}

// until waits until every node has a version or a later one.
func (n *Nodes) until(ctx context.Context, version uint64) (Arrived, error) {
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		behind, a := n.reached(version)
		switch {
		case behind == "":
			return a, nil
		case ctx.Err() != nil:
			return a, ctx.Err()
		case time.Now().After(deadline):
			return a, fmt.Errorf("%s did not get version %d", behind, version)
		}
	}
}

// reached names a node that is behind a version, or tells when the last got there.
func (n *Nodes) reached(version uint64) (behind string, a Arrived) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, seen := range n.nodes {
		if seen.version < version {
			return workload.NodeName(n.From + i), a
		}
		sets := len(seen.policy.Sets)
		if i == 0 {
			a.Fewest = sets
		}
		a.At, a.Fewest, a.Most = max(a.At, seen.at.UnixNano()), min(a.Fewest, sets), max(a.Most, sets)
	}
	return "", a
}

func (n *Nodes) arrivals(connections []*nats.Conn) Arrivals {
	n.mu.Lock()
	defer n.mu.Unlock()
	var a Arrivals
	for _, version := range slices.Sorted(maps.Keys(n.came)) {
		a.Windows = append(a.Windows, n.came[version])
	}
	clear(n.came)
	a.Deliveries = n.deliveries
	for _, nc := range connections {
		s := nc.Stats()
		a.Bytes, a.Messages = a.Bytes+s.InBytes, a.Messages+s.InMsgs
	}
	return a
}

func (n *Nodes) states() (States, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := States{Plans: map[string]string{}, Objects: map[string]string{}}
	known := map[proto.Message]bool{} // nodes of a process share nothing, but a set is held over many states
	for i, seen := range n.nodes {
		hash, err := HashPlan(seen.policy.Plan)
		if err != nil {
			return s, err
		}
		s.Plans[workload.NodeName(n.From+i)] = hash
		for id, set := range seen.policy.Sets {
			if err := s.object(known, id, set); err != nil {
				return s, err
			}
		}
		for id, policy := range seen.policy.Policies {
			if err := s.object(known, id, policy); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

func (s *States) object(known map[proto.Message]bool, id string, m proto.Message) error {
	if known[m] {
		return nil
	}
	known[m] = true
	hash, err := HashObject(m)
	if err != nil {
		return err
	}
	if have, found := s.Objects[id]; found && have != hash {
		s.Differ = append(s.Differ, id)
	}
	s.Objects[id] = hash
	return nil
}

// HashPlan is a hash of what a plan says, whatever its window and versions.
func HashPlan(p *ringfencev1.NodePlan) (string, error) {
	plain := proto.CloneOf(p)
	plain.Window, plain.Version, plain.ProvisionedVersion = 0, nil, 0
	return HashObject(plain)
}

// HashObject is a hash of a message.
func HashObject(m proto.Message) (string, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
