package pce_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

const chartKey, chartSecret = "api_chart", "sixteen-letters!"

// request sends one request to a console and decodes its answer into out.
func request(t *testing.T, method, url, user, secret string, header http.Header, out any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if req.Header = header.Clone(); req.Header == nil {
		req.Header = http.Header{}
	}
	if user != "" {
		req.SetBasicAuth(user, secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			t.Fatalf("%s %s: %d %s: %v", method, url, resp.StatusCode, body, err)
		}
	}
	return resp.StatusCode
}

// Flows and events that were acknowledged are there after kill -9, each once, though the cluster tells them again.
func TestKillLosesNoFlow(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	args := []string{"--insecure-http", "--api-key", chartKey, "--api-secret", chartSecret}
	var agent *api.Agent
	var credentials api.Config
	connect := func(address string) {
		t.Helper()
		if credentials.User == "" {
			c, err := api.New(api.Config{URL: "http://" + address, OrgID: 1, User: chartKey, Secret: chartSecret})
			if err != nil {
				t.Fatal(err)
			}
			cluster, err := c.CreateContainerCluster(t.Context(), api.ContainerCluster{Name: "lab"})
			if err != nil {
				t.Fatal(err)
			}
			credentials = api.Config{OrgID: 1, User: api.ID(cluster.Href), Secret: cluster.Token, Timeout: 20 * time.Second}
		}
		credentials.URL = "http://" + address
		c, err := api.New(credentials)
		if err != nil {
			t.Fatal(err)
		}
		agent = c.Agent(credentials.User)
	}
	acknowledged := 0
	for range 3 {
		p := start(t, path, data, args...)
		connect(p.address)
		for i := range acknowledged { // as a bridge that does not know how far it came
			if err := report(t.Context(), agent, i); err != nil {
				t.Fatal(err)
			}
		}
		timer := time.AfterFunc(200*time.Millisecond, func() { _ = p.Process.Kill() })
		for report(t.Context(), agent, acknowledged) == nil {
			acknowledged++
		}
		timer.Stop()
		_ = p.Wait()
	}
	p := start(t, path, data, args...)
	connect(p.address)
	if err := report(t.Context(), agent, acknowledged); err != nil { // perhaps stored by the console that was killed
		t.Fatal(err)
	}
	acknowledged++
	var rows []struct {
		Connections int `json:"num_connections"`
	}
	base := "http://" + p.address + "/api/v2/orgs/1"
	request(t, "POST", base+"/traffic_flows/traffic_analysis_queries", chartKey, chartSecret, nil, &rows)
	sum := 0
	for _, r := range rows {
		sum += r.Connections
	}
	var events []json.RawMessage
	request(t, "GET", base+"/events?event_type=agent.x&max_results=5000", chartKey, chartSecret, nil, &events)
	if sum != acknowledged || len(events) != acknowledged || acknowledged < 3 {
		t.Fatalf("%d flows and %d events of %d that were acknowledged", sum, len(events), acknowledged)
	}
	t.Logf("%d batches acknowledged over 3 kills", acknowledged)
}

// report tells of the i-th flow and the i-th event.
func report(ctx context.Context, agent *api.Agent, i int) error {
	now := time.Now().UTC().Format(time.RFC3339)
	port := 80
	if _, err := agent.ReportFlows(ctx, api.FlowUpload{Batch: fmt.Sprint(i), Flows: []api.FlowSummary{{
		Src: api.FlowEnd{IP: "10.0.0.1"}, Dst: api.FlowEnd{IP: "10.0.0.2"}, Service: api.FlowService{Port: &port, Proto: 6}, Direction: "inbound",
		Decision: "allowed", State: "closed", Connections: 1, Range: api.TimeRange{First: now, Last: now},
	}}}); err != nil {
		return err
	}
	_, err := agent.ReportEvents(ctx, []api.AgentEvent{{ID: fmt.Sprint(i), Type: "agent.x", Severity: "info", Status: "success", Timestamp: now}})
	return err
}

// A user made on the command line signs in, and is limited as the flag says.
func TestUserOfTheCommandLine(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	made := exec.CommandContext(t.Context(), path, "user", "--data", data, "--name", "ada")
	made.Stdin = strings.NewReader("correct horse\n")
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	short := exec.CommandContext(t.Context(), path, "user", "--data", data, "--name", "bob")
	short.Stdin = strings.NewReader("short\n")
	if out, err := short.CombinedOutput(); err == nil || !strings.Contains(string(out), "want 8 to 72 bytes") {
		t.Fatalf("%v: %s", err, out)
	}
	p := start(t, path, data, "--insecure-http", "--requests-a-minute", "20")
	base := "http://" + p.address + "/api/v2"
	var ticket struct {
		Token string `json:"auth_token"`
	}
	request(t, "POST", base+"/login_users/authenticate", "ada", "correct horse", nil, &ticket)
	var session struct {
		Name  string `json:"auth_username"`
		Token string `json:"session_token"`
	}
	request(t, "GET", base+"/users/login", "", "", http.Header{"Authorization": {"Token token=" + ticket.Token}}, &session)
	limited := false
	for range 50 {
		switch status := request(t, "GET", base+"/orgs/1/labels", session.Name, session.Token, nil, nil); status {
		case http.StatusOK:
		case http.StatusTooManyRequests:
			limited = true
		default:
			t.Fatalf("status %d", status)
		}
	}
	if !limited {
		t.Fatal("50 requests were taken, of 20 a minute")
	}
}
