package pce_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	api "github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// faults makes the wire misbehave: one request in ten meets one of all that can go wrong between a cluster and its console.
type faults struct {
	mu   sync.Mutex
	dice *rand.Rand
	met  map[string]int
}

var faultNames = []string{
	"late", "cut", "reset after the answer", "half an answer", "half an answer that looks whole", "not JSON", "HTML", "empty", "null in a list", "another clock",
	"401", "403", "404", "406", "429", "429 with Retry-After", "429 with a date", "500", "501", "502", "503", "504",
}

// choose gives a fault for a request, or none, and a delay.
func (f *faults) choose() (name string, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dice.IntN(10) > 0 {
		return "", 0
	}
	name = faultNames[f.dice.IntN(len(faultNames))]
	f.met[name]++
	return name, time.Duration(f.dice.IntN(300)) * time.Millisecond
}

// answer is for wire.answer.
func (f *faults) answer(console http.Handler) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user == userKey {
			return false
		}
		name, delay := f.choose()
		var status int
		if n, _ := fmt.Sscanf(name, "%d", &status); n == 1 {
			switch {
			case strings.HasSuffix(name, "Retry-After"):
				w.Header().Set("Retry-After", "1")
			case strings.HasSuffix(name, "date"):
				w.Header().Set("Retry-After", time.Now().Add(time.Second).UTC().Format(http.TimeFormat))
			}
			w.WriteHeader(status)
			return true
		}
		switch name {
		case "":
			return false
		case "late":
			time.Sleep(delay)
			return false
		case "cut":
			panic(http.ErrAbortHandler)
		case "not JSON", "HTML", "empty", "null in a list":
			body := map[string]string{"not JSON": `{"href":}`, "HTML": "<html><body>Sign in</body></html>", "null in a list": "[null]"}[name]
			_, _ = w.Write([]byte(body))
			return true
		}
		f.spoil(w, r, console, name)
		return true
	}
}

// spoil has the console answer, and passes on what arrives of it.
func (f *faults) spoil(w http.ResponseWriter, r *http.Request, console http.Handler, name string) {
	if strings.HasSuffix(r.URL.Path, "/changes") { // it would hold the recorder for half a minute
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answer := httptest.NewRecorder()
	console.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	switch name {
	case "reset after the answer": // it took effect, and nobody heard
		panic(http.ErrAbortHandler)
	case "half an answer":
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:len(body)/2]) // less than Content-Length: the connection breaks
	case "half an answer that looks whole":
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:len(body)/2])
	case "another clock":
		w.Header().Set("Date", time.Now().AddDate(-3, 0, 0).UTC().Format(http.TimeFormat))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body)
	}
}

// Whatever happens between bridge and console while policy is written, provisioned and taken back, and while the bridge itself is
// killed: every version in the log is one that was provisioned, whole. Four objects change together with each version, so that a
// mixture of two would show, and so would one of a kind that seems to be gone.
func TestNoHalfPolicyIsEverPublished(t *testing.T) {
	s := newScene(t)
	const seed = 42
	t.Logf("seed %d", seed)
	f := &faults{dice: rand.New(rand.NewPCG(seed, seed)), met: map[string]int{}}
	dice := rand.New(rand.NewPCG(seed, seed+1))
	list, err := s.user.CreateIPList(t.Context(), api.IPList{Name: "list 0", IPRanges: []api.IPRange{{FromIP: "10.0.0.0/8"}}})
	s.must(err)
	port, tcp := 443, 6
	service, err := s.user.CreateService(t.Context(), api.Service{Name: "service 0", ServicePorts: []api.ServicePort{{Port: &port, Proto: &tcp}}})
	s.must(err)
	set, err := s.user.CreateRuleSet(t.Context(), api.RuleSet{Name: "set 0", Scopes: [][]api.Actor{{}}, Rules: []api.Rule{{
		Consumers: []api.Actor{{IPList: &api.Ref{Href: list.Href}}}, Providers: []api.Actor{{Actors: "ams"}}, IngressServices: []api.IngressService{{Href: service.Href}}}}})
	s.must(err)
	group := api.LabelGroup{}
	s.post("/orgs/1/sec_policy/draft/label_groups", map[string]any{"name": "group 0", "key": "env"}, &group)
	last := s.provision()
	s.wire.mu.Lock()
	s.wire.answer = f.answer(s.console)
	s.wire.mu.Unlock()
	b := s.startBridge()
	s.stock(s.log.Producer("watcher"))
	for i, end := 1, time.Now().Add(40*time.Second); time.Now().Before(end); i++ {
		for href, what := range map[string]string{list.Href: "list", service.Href: "service", set.Href: "set", group.Href: "group"} {
			s.must(s.user.Update(t.Context(), href, map[string]any{"name": fmt.Sprintf("%s %d", what, i)}))
		}
		last = s.provision()
		extra, err := s.user.CreateLabel(t.Context(), api.Label{Key: "app", Value: fmt.Sprint("passing ", i)})
		s.must(err)
		time.Sleep(time.Duration(dice.IntN(700)) * time.Millisecond)
		s.must(s.user.Delete(t.Context(), extra.Href))
		if dice.IntN(12) == 0 {
			s.must(b.Process.Kill())
			_, _ = b.Process.Wait()
			b = s.startBridge()
		}
	}
	s.wire.breaks("", nil)
	s.eventuallyWithin(30*time.Second, "the last version, once all is well", func() bool { return s.fold().Policy().ProvisionedVersion == last })
	whole := s.wholeVersions()
	t.Logf("%d versions were provisioned and %d committed; faults met: %v", last, whole, f.met)
	if whole < 5 || len(f.met) < len(faultNames)/2 {
		t.Errorf("the test shows little: %d versions committed, %d kinds of faults", whole, len(f.met))
	}
}

// wholeVersions reads the log as policy-store does, and fails the test where a version in force mixes two. It gives how many
// versions were in force.
func (s *scene) wholeVersions() (versions int) {
	s.Helper()
	engine, before := clas.New(), int64(0)
	objects := map[string]*ringfencev1.PceObject{}
	chunks := map[uint32]*ringfencev1.Provisioned{}
	for entry, err := range s.log.Read(s.Context(), 0, 0) {
		s.must(err)
		s.must(engine.Apply(entry.Subject, entry.Sequence, entry.Fact))
		if o := entry.Fact.GetPceObject(); o != nil {
			objects[entry.Subject] = o
		}
		if p := entry.Fact.GetProvisioned(); p != nil {
			chunks[p.GetChunk()] = p
		}
		now := engine.Policy().ProvisionedVersion
		if now == before || now == 0 {
			continue
		}
		before, versions = now, versions+1
		numbers := map[string]string{}
		for _, e := range chunks[0].GetEntries() {
			o := objects[eventlog.ObjectSubject(e.GetSha256())]
			for _, name := range []string{o.GetIpList().GetName(), o.GetService().GetName(), o.GetRuleSet().GetName(), o.GetLabelGroup().GetName()} {
				if what, number, numbered := strings.Cut(name, " "); numbered && what != "All" && what != "Any" {
					numbers[what] = number
				}
			}
		}
		if len(numbers) != 4 || len(slices.Compact(slices.Sorted(maps.Values(numbers)))) != 1 {
			s.Fatalf("version %d mixes %v", now, numbers)
		}
	}
	return versions
}
