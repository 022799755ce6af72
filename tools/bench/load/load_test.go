package load

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
)

// work runs a client as package rounds does: it waits until the client is ready, has it begin, and takes its result.
func work(t *testing.T, url string, do func(context.Context, Client) error) Result {
	t.Helper()
	in, tell := io.Pipe()
	hear, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := do(t.Context(), Client{URL: url, In: in, Out: out})
		out.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewReader(hear)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the client says %q: %v", line, err)
	}
	if _, err := io.WriteString(tell, "begin\n"); err != nil {
		t.Fatal(err)
	}
	line, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the client is gone (%v) before anyone could look at it", err)
	case <-time.After(10 * time.Millisecond):
	}
	if err := tell.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWrite(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	r := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.Write(ctx, 8, 200*time.Millisecond) })
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Operations == 0 || uint64(r.Operations) != last-1 {
		t.Errorf("%d writes were counted, the log has %d facts, one of them the producer's epoch", r.Operations, last)
	}
	if r.Seconds < 0.2 || r.P50 <= 0 || r.P99 < r.P50 || r.Together < 1 || r.Together > 8 {
		t.Errorf("implausible: %+v", r)
	}
}

func TestFanOut(t *testing.T) {
	s, _ := eventlogtest.StartLog(t)
	for _, follow := range []bool{true, false} {
		r := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.FanOut(ctx, 5, 4, 50, follow) })
		if r.Operations != 5*4 || r.P50 <= 0 {
			t.Errorf("%+v, want 20 deliveries", r)
		}
	}
}

// TestHistory writes a city and three more revisions of its pods, lists it, and replays it to the policy that the same facts
// give without a log.
func TestHistory(t *testing.T) {
	const pods, revisions = 300, 4
	s, _ := eventlogtest.StartLog(t)
	h, err := NewHistory(pods)
	if err != nil {
		t.Fatal(err)
	}
	whole := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.Fill(ctx, pods, 0, 1) })
	more := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.Fill(ctx, pods, 1, revisions) })
	if whole.Operations != h.Facts() || more.Operations != (revisions-1)*pods {
		t.Errorf("%d and %d facts were written, want %d and %d", whole.Operations, more.Operations, h.Facts(), (revisions-1)*pods)
	}
	if list := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.List(ctx) }); list.Keys != whole.Keys {
		t.Errorf("%d keys were listed, %d were written", list.Keys, whole.Keys)
	}
	e, last := clas.New(), h.Facts()+(revisions-1)*pods
	take := func(ds []eventlog.Draft) {
		for _, d := range ds {
			if err := e.Apply(d.Subject, e.Sequence()+1, d.Fact); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, err := h.first(0, h.Facts())
	if err != nil {
		t.Fatal(err)
	}
	take(first)
	before := e.Digest()
	for revision := 1; revision < revisions; revision++ {
		drafts, err := h.later(revision)(0, pods)
		if err != nil {
			t.Fatal(err)
		}
		take(drafts)
	}
	replay := work(t, s.URL(), func(ctx context.Context, c Client) error { return c.Replay(ctx) })
	if replay.Operations != last || replay.Digest != e.Digest() {
		t.Errorf("%d facts give %s, %d facts in memory give %s", replay.Operations, replay.Digest, last, e.Digest())
	}
	if e.Digest() == before {
		t.Error("the revisions of the pods changed no policy")
	}
}

// TestFactsAreOfTheirSize holds what the benchmark says of them.
func TestFactsAreOfTheirSize(t *testing.T) {
	h, err := NewHistory(100)
	if err != nil {
		t.Fatal(err)
	}
	d := h.Draft(7, 2)
	fact := proto.CloneOf(d.Fact)
	fact.Producer, fact.Counter = "bench", 1_000_000
	if n := proto.Size(fact); n < 480 || n > 520 {
		t.Errorf("a fact has %d bytes, want about 500", n)
	}
}
