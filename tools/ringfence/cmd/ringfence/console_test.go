package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// The status says in one line how the console is used, or why it is not.
func TestStatusOfTheConsole(t *testing.T) {
	const policyOnly = "the PCE has no agent API for clusters: policy is read with API key api_1, and Kubernetes workloads are not reported"
	for name, test := range map[string]struct {
		link *ringfencev1.PceLink
		want string
	}{
		"nothing known": {nil, ""},
		"reachable":     {&ringfencev1.PceLink{Up: true, State: ringfencev1.LinkState_LINK_STATE_REACHABLE, Reason: policyOnly}, "console    reachable: " + policyOnly + " (cluster mode clas)\n"},
		"degraded":      {&ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_DEGRADED, Reason: "it hums"}, "console    degraded: it hums (cluster mode clas)\n"},
		"back":          {&ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_RESYNCHRONISING, Reason: "reading"}, "console    resynchronising: reading (cluster mode clas)\n"},
		"of an earlier": {&ringfencev1.PceLink{Up: true, Reason: "it answers"}, "console    reachable: it answers (cluster mode clas)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, log := eventlogtest.StartLog(t)
			drafts := []eventlog.Draft{{Subject: eventlog.SettingsSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{Settings: &ringfencev1.Settings{ClusterMode: "clas"}}}}}
			if test.link != nil {
				drafts = append(drafts, eventlog.Draft{Subject: eventlog.LinkSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: test.link}}})
			}
			if err := log.Producer("pce-bridge").PublishAll(t.Context(), drafts); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			s := &session{ctx: t.Context(), stdout: &out}
			now, err := s.status(&ringfence.Store{Log: log})
			if err != nil {
				t.Fatal(err)
			}
			s.printStatus(now)
			got := ""
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "console") {
					got = line
				}
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
