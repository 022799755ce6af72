package ringfence_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/tools/ringfence"
)

func query(source, destination string, port uint16) clas.Query {
	return clas.Query{Source: source, Destination: destination, Port: port, Protocol: 6}
}

func place(sequence uint64) ringfence.Place { return ringfence.Place{Sequence: sequence} }

// crowd is the shop's log with many pods that say nothing between the shop's facts after the 29th, so that a search has rounds.
// It gives the places of the facts that change what api may do to db.
func crowd(t *testing.T, between int) (file *ringfence.File, provisioned, enforced uint64) {
	t.Helper()
	s := &story{t: t}
	for i, e := range shop(t) {
		s.now = e.StoredAt
		for n := range between {
			if i >= 29 {
				s.pod("ops", fmt.Sprintf("busy-%d", n), "node-2", "Deployment", "busy", fmt.Sprintf("10.9.%d.%d", n/250, n%250+1))
			}
		}
		s.fact(e.Subject, e.Fact)
		switch i {
		case 31:
			provisioned = uint64(len(s.entries))
		case 32:
			enforced = uint64(len(s.entries))
		}
	}
	return memory(t, write(t, s.entries)), provisioned, enforced
}

func TestBisectFindsTheFact(t *testing.T) {
	file, provisioned, enforced := crowd(t, 1500)
	apiToDB, intruder := query("shop/deployment/api", "shop/statefulset/db", 5432), query("ops/intruder", "shop/statefulset/db", 5432)
	for _, c := range []struct {
		name          string
		query         clas.Query
		good, bad     uint64
		want          uint64
		before, after clas.Verdict
	}{
		{"allowed by a version", apiToDB, 29, 0, provisioned, clas.PotentiallyBlocked, clas.Allowed},
		{"the good place is the later one", apiToDB, file.Header.Last, 29, provisioned, clas.PotentiallyBlocked, clas.Allowed},
		{"blocked by a profile", intruder, 30, 0, enforced, clas.PotentiallyBlocked, clas.Blocked},
		{"right after the good place", apiToDB, provisioned - 1, provisioned, provisioned, clas.PotentiallyBlocked, clas.Allowed},
		{"a pod that came", query("shop/web-3", "shop/api-1", 8080), 29, 0, file.Header.Last, "", clas.Allowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := ringfence.Bisect(t.Context(), file, c.query, place(c.good), place(c.bad), nil)
			if err != nil {
				t.Fatal(err)
			}
			if found.Fact.Sequence != c.want || found.Before.Verdict() != c.before || found.After.Verdict() != c.after || found.Incarnation != "shop" {
				t.Errorf("sequence %d, %s -> %s, want %d, %s -> %s", found.Fact.Sequence, found.Before.Verdict(), found.After.Verdict(), c.want, c.before, c.after)
			}
			if c.before == "" && !strings.Contains(found.Before.Unknown, "no such endpoint") {
				t.Errorf("before: %+v", found.Before)
			}
			if found.Asked > 500 { // two ends, up to 16 in a round, then one by one in a sixteenth
				t.Errorf("%d questions", found.Asked)
			}
		})
	}
}

// TestBisectOfManyFacts takes two rounds.
func TestBisectOfManyFacts(t *testing.T) {
	file, _, enforced := crowd(t, 15_000)
	found, err := ringfence.Bisect(t.Context(), file, query("ops/intruder", "shop/statefulset/db", 5432), place(29), ringfence.Place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.Fact.Sequence != enforced || found.Before.Verdict() != clas.PotentiallyBlocked || found.After.Verdict() != clas.Blocked {
		t.Errorf("sequence %d, %s -> %s, want %d", found.Fact.Sequence, found.Before.Verdict(), found.After.Verdict(), enforced)
	}
	if found.Asked > 400 {
		t.Errorf("%d questions", found.Asked)
	}
}

// TestBisectPassesOverPlacesWithoutVerdict takes the database's only pod away and brings it back before it is blocked.
func TestBisectPassesOverPlacesWithoutVerdict(t *testing.T) {
	var blocked uint64
	file := after(t, func(s *story) {
		for range 40 {
			s.gone(eventlog.KubernetesSubject("pod", "shop", "db-0"))
			s.pod("shop", "db-0", "node-2", "StatefulSet", "db", "10.0.2.2")
		}
		s.gone(eventlog.KubernetesSubject("statefulset", "shop", "db")) // and with it the annotation that gives the role
		blocked = uint64(len(s.entries))
		s.gone(eventlog.KubernetesSubject("pod", "shop", "web-3"))
	})
	found, err := ringfence.Bisect(t.Context(), file, query("shop/api-1", "shop/db-0", 5432), place(34), ringfence.Place{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.Fact.Sequence != blocked || found.After.Verdict() != clas.Blocked {
		t.Errorf("sequence %d, after it %s, want %d", found.Fact.Sequence, found.After.Verdict(), blocked)
	}
}

func TestBisectOfARunningLog(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	between := publish(t, log)
	snapshot(t, log, 20, computedAt(t, 20))
	found, err := ringfence.Bisect(t.Context(), log, query("shop/api-1", "shop/db-0", 5432), ringfence.Place{Time: between}, ringfence.Place{}, nil)
	if err != nil || found.Fact.Sequence != 32 || found.Fact.Fact.GetProvisioned().GetVersion() != 2 {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestBisectOfOneVerdict(t *testing.T) {
	file := memory(t, exportShop(t))
	for _, c := range []struct {
		query     clas.Query
		good, bad uint64
		err       error
		want      string
	}{
		{query("shop/web-1", "shop/api-1", 8080), 29, 34, ringfence.ErrSameVerdict, "allowed at sequences 29 and 34"},
		{query("shop/web-9", "shop/api-1", 8080), 29, 34, ringfence.ErrSameVerdict, "none (source shop/web-9: no such endpoint) at sequences 29 and 34"},
		{query("shop/web-1", "shop/api-1", 8080), 29, 35, ringfence.ErrOutOfRange, "bad: sequence 35"},
		{query("shop/web-1", "shop/api-1", 8080), 35, 1, ringfence.ErrOutOfRange, "good: sequence 35"},
	} {
		_, err := ringfence.Bisect(t.Context(), file, c.query, place(c.good), place(c.bad), nil)
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.query, err, c.want)
		}
	}
}
