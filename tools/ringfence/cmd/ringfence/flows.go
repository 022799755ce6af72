package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type flowsCommand struct {
	Since time.Duration `default:"10m" help:"How far back to look."`
}

// Help gives the example.
func (flowsCommand) Help() string {
	return `Flows are counted by the nodes in windows of ten seconds. Addresses have the names that they have now.

Example:

    ringfence flows --since 2m | grep blocked`
}

// Run prints a line a flow.
func (c *flowsCommand) Run(s *session) error {
	store, err := s.address.Connect(s.ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	names, err := ringfence.ReadNames(s.ctx, store.Log)
	if err != nil {
		return err
	}
	t := newTable("until", "node", "pod sees", "from", "to", "service", "decision", "rule", "connections")
	for batch, err := range store.Log.Flows(s.ctx, time.Now().Add(-c.Since)) {
		if err != nil {
			return fmt.Errorf("flows: %w", err)
		}
		for _, flow := range batch.GetFlows() {
			t.AppendRow(flowRow(batch, flow, names))
		}
	}
	printTable(s.stdout, t, fmt.Sprintf("No flow was reported within %s.", c.Since))
	return nil
}

func flowRow(batch *ringfencev1.FlowBatch, flow *ringfencev1.Flow, names ringfence.Names) table.Row {
	return table.Row{
		batch.GetTo().AsTime().Format(time.RFC3339), batch.GetNode(),
		plain(flow.GetDirection().String(), "FLOW_DIRECTION_"), names.Of(flow.GetSource()), names.Of(flow.GetDestination()),
		ringfence.ProtocolName(int32(flow.GetProtocol())) + "/" + fmt.Sprint(flow.GetPort()), //nolint:gosec // an IANA number
		plain(flow.GetDecision().String(), "FLOW_DECISION_"), flow.GetRule(), flow.GetConnections(),
	}
}

// plain makes of an enumeration's name what people read: "potentially blocked".
func plain(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", " "))
}
