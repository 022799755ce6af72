package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// TestStatusOfAFrozenPolicy tells of logs that publish nothing, because they lost their disk, or are new.
func TestStatusOfAFrozenPolicy(t *testing.T) {
	for story, synced := range map[string][]string{"missing": {"watcher"}, "reading": {"pce-bridge", "watcher"}, "new": nil} {
		t.Run(story, func(t *testing.T) {
			server, log := eventlogtest.StartLog(t)
			for _, producer := range synced {
				if err := log.Producer(producer).Synced(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(synced) > 0 {
				report(t, server, &ringfencev1.Version{Incarnation: "one that was lost", Sequence: 34})
			}
			testscript.Run(t, testscript.Params{Files: []string{"testdata/frozen/" + story + ".txtar"}, Cmds: commands, Setup: func(env *testscript.Env) error {
				env.Setenv("RINGFENCE_SERVER", server.URL())
				return nil
			}})
		})
	}
}
