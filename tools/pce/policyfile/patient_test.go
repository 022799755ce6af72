package policyfile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

// busy is a console that has had too many requests at first.
type busy struct {
	Console
	refusals int
}

func (b *busy) Create(context.Context, string, any) (api.Document, error) {
	if b.refusals--; b.refusals >= 0 {
		return nil, fmt.Errorf("label: %w", &api.Error{Kind: api.Busy, Status: 429, RetryAfter: 45 * time.Second})
	}
	return api.Document{"href": []byte(`"/orgs/1/labels/1"`)}, nil
}

func (b *busy) Delete(context.Context, string) error { return &api.Error{Kind: api.Busy, Status: 503} }

func TestABusyConsoleIsWaitedFor(t *testing.T) {
	var waited []time.Duration
	p := patient{&busy{refusals: 2}, func(_ context.Context, d time.Duration) error {
		waited = append(waited, d)
		return nil
	}}
	made, err := p.Create(t.Context(), "/orgs/1/labels", nil)
	if err != nil || made.Href() != "/orgs/1/labels/1" || len(waited) != 2 || waited[0] != 45*time.Second {
		t.Fatalf("%v %v after %v", made, err, waited)
	}
	if err := p.Delete(t.Context(), "x"); err == nil || len(waited) != 2 {
		t.Fatalf("another failure was waited for: %v", err)
	}
	p = patient{&busy{refusals: 1}, func(context.Context, time.Duration) error { return context.Canceled }}
	if _, err := p.Create(t.Context(), "x", nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
