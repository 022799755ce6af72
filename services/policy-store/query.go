package policystore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/ringfence/ringfence/libs/clas"
)

// Subjects of the queries. Requests and answers are JSON; errors come as NATS micro errors.
const (
	StatusSubject  = "query.status"
	ExplainSubject = "query.explain"
)

// queryTimeout bounds what an answer may ask the log for.
const queryTimeout = 5 * time.Second

// Status answers StatusSubject.
type Status struct {
	Incarnation string `json:"incarnation"`
	// Sequence of the last fact that was folded.
	Sequence uint64 `json:"sequence"`
	// Window is the number of the last window, 0 before the first of this run.
	Window uint64 `json:"window"`
	// Settled is the newest window that every node enforces, but for silent ones; Lagging names all nodes that do not enforce
	// the newest window yet.
	Settled uint64   `json:"settled"`
	Lagging []string `json:"lagging"`
	// Digest of the policy as it is now, by the engine version Engine.
	Digest             string `json:"digest"`
	Engine             string `json:"engine"`
	ProvisionedVersion int64  `json:"provisioned_version"`
	// Synced lists the producers whose start is complete in this incarnation.
	Synced []string `json:"synced"`
	// Facts is how many facts the log keeps.
	Facts    uint64   `json:"facts"`
	Warnings []string `json:"warnings"`
	// Capacity is what the log can take, null in the first seconds.
	Capacity *Capacity `json:"capacity"`
}

// answer serves the queries until stop is called.
func (f *folder) answer(nc *nats.Conn) (stop func(), err error) {
	service, err := micro.AddService(nc, micro.Config{
		Name: "ringfence-policy-store", Version: "1.0.0", Description: "answers about the policy that is computed now",
	})
	if err != nil {
		return nil, fmt.Errorf("serve queries: %w", err)
	}
	for name, endpoint := range map[string]struct {
		subject string
		handle  func(micro.Request)
	}{
		"status":  {StatusSubject, f.answerStatus},
		"explain": {ExplainSubject, f.answerExplain},
	} {
		if err := service.AddEndpoint(name, micro.HandlerFunc(endpoint.handle), micro.WithEndpointSubject(endpoint.subject)); err != nil {
			return nil, fmt.Errorf("serve queries: %s: %w", endpoint.subject, err)
		}
	}
	return func() { _ = service.Stop() }, nil // it fails only with the connection, which closes next
}

func (f *folder) answerStatus(r micro.Request) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	usage, err := f.log.Usage(ctx)
	if err != nil {
		f.respond(r, nil, err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	policy := f.engine.Policy()
	f.respond(r, Status{
		Incarnation: f.log.Incarnation(), Sequence: f.engine.Sequence(), Window: f.out.current.Load(),
		Digest: f.engine.Digest(), Engine: clas.Version, ProvisionedVersion: policy.ProvisionedVersion,
		Synced: orEmpty(f.engine.Synced(f.log.Incarnation())), Facts: usage.Facts, Warnings: orEmpty(policy.Warnings),
		Capacity: f.capacity.Load(),
		Settled:  f.out.settlement.window(f.log.Incarnation(), f.out.current.Load(), time.Now()),
		Lagging:  orEmpty(f.out.settlement.lagging(f.log.Incarnation(), f.out.current.Load())),
	}, nil)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (f *folder) answerExplain(r micro.Request) {
	var q clas.Query
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		f.respond(r, nil, fmt.Errorf("the query is not JSON of a query: %w", err))
		return
	}
	f.mu.Lock()
	explanation, err := f.engine.Explain(q)
	f.mu.Unlock()
	f.respond(r, explanation, err)
}

func (f *folder) respond(r micro.Request, answer any, err error) {
	if err == nil {
		err = r.RespondJSON(answer)
	} else {
		err = r.Error("400", err.Error(), nil)
	}
	if err != nil {
		f.zlog.Warn().Err(err).Str("subject", r.Subject()).Msg("a query was not answered")
	}
}
