package console

import (
	"bufio"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/traffic"
)

// flowsRing keeps what clusters report of traffic.
const flowsRing = "FLOWS"

// TrafficRoom gives flows so much room; when it is used up, the oldest go. Without it they keep what they have, 256 MiB at
// first.
func TrafficRoom(mib int64) Option { return func(c *Console) { c.trafficMiB = mib } }

// reportFlows takes a part of what a cluster saw. Flows that cannot be are counted and left out; the others are kept. They are
// no edits: there are too many.
func (c *Console) reportFlows(r request) (response, error) {
	var upload pce.FlowUpload
	if err := r.decode(&upload); err != nil {
		return response{}, err
	}
	if err := withinBulk("flows", len(upload.Flows)); err != nil {
		return response{}, err
	}
	if upload.Batch == "" || len(upload.Batch) > 200 {
		return response{}, invalid("batch", "want 1 to 200 characters")
	}
	flows := make([]traffic.Flow, 0, len(upload.Flows))
	for i, summary := range upload.Flows {
		flow, err := traffic.Check(summary)
		if err != nil {
			c.log.Debug().Err(err).Str("cluster", r.who.cluster).Str("batch", upload.Batch).Int("flow", i).Msg("a flow is left out")
			continue
		}
		flows = append(flows, flow)
	}
	if _, err := c.traffic.Add(r.Context(), r.who.cluster, upload.Batch, flows); err != nil {
		return response{}, err
	}
	return ok(pce.FlowReceipt{Received: len(upload.Flows), Failed: len(upload.Flows) - len(flows)}), nil
}

// lastFlows tells a cluster which of its batches is the newest, so that after a restart it knows where to go on.
func (c *Console) lastFlows(r request) (response, error) {
	return ok(map[string]string{"batch": c.traffic.Last(r.who.cluster)}), nil
}

// uploadFlows takes flows from people: lines of source, destination, port and protocol number. They count as seen now.
func (c *Console) uploadFlows(r request) (response, error) {
	lines := bufio.NewScanner(r.Body)
	failed, received := []string{}, 0
	var flows []traffic.Flow
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		received++
		flow, err := flowOfLine(line, c.store.now())
		if err != nil {
			failed = append(failed, shortened(line))
			continue
		}
		flows = append(flows, flow)
	}
	if err := lines.Err(); err != nil {
		return response{}, err
	}
	if err := withinBulk("the body", received); err != nil {
		return response{}, err
	}
	if _, err := c.traffic.Add(r.Context(), "", newUUID(), flows); err != nil {
		return response{}, err
	}
	return response{status: http.StatusCreated, body: rendered{
		"num_flows_received": received, "num_flows_failed": len(failed), "failed_flows": failed,
	}}, nil
}

func flowOfLine(line string, now time.Time) (traffic.Flow, error) {
	parts := strings.Split(line, ",")
	if len(parts) != 4 {
		return traffic.Flow{}, errors.New("want source, destination, port, protocol")
	}
	port, err := strconv.Atoi(strings.TrimSpace(parts[2]))
	if err != nil {
		return traffic.Flow{}, err
	}
	proto, err := strconv.Atoi(strings.TrimSpace(parts[3]))
	if err != nil {
		return traffic.Flow{}, err
	}
	at := now.Format(time.RFC3339)
	return traffic.Check(pce.FlowSummary{
		Src: pce.FlowEnd{IP: strings.TrimSpace(parts[0])}, Dst: pce.FlowEnd{IP: strings.TrimSpace(parts[1])},
		Service: pce.FlowService{Port: &port, Proto: proto}, Direction: "inbound", Decision: "unknown", State: "unknown", Connections: 1,
		Range: pce.TimeRange{First: at, Last: at},
	})
}
