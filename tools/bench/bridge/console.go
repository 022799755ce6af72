package bridge

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// consoleProcess is tools/pce with a policy, and the proxy before it.
type consoleProcess struct {
	server *process.Process
	url    string
	user   *pce.Client
	proxy  *proxy
	// sets are the hrefs of its rule sets.
	sets []string
}

func (c *consoleProcess) stop() {
	if c.proxy != nil {
		_ = c.proxy.server.Close() // it only listens
	}
	c.server.Stop()
}

func (b *Bench) startConsole(ctx context.Context, dir string) (*consoleProcess, error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	c := &consoleProcess{url: "http://" + address}
	if c.server, err = process.Serve(ctx, "the console", address, b.Console(dir, address, key, secret)); err != nil {
		return nil, err
	}
	if c.user, err = pce.New(pce.Config{URL: c.url, OrgID: 1, User: key, Secret: secret}); err == nil {
		err = b.write(ctx, c)
	}
	if err == nil {
		c.proxy, err = startProxy(c.url)
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

var keys = []string{"app", "env", "loc", "role"}

// write gives the console labels and rules, and provisions them. Labels go in by the thousand, which only clusters can do.
func (b *Bench) write(ctx context.Context, c *consoleProcess) error {
	b.say("give the console %d labels and %d rules", b.Labels, b.RuleSets*b.RulesEach)
	writer, err := c.user.CreateContainerCluster(ctx, pce.ContainerCluster{Name: "writer"})
	if err != nil {
		return err
	}
	as, err := pce.New(pce.Config{URL: c.url, OrgID: 1, User: pce.ID(writer.Href), Secret: writer.Token})
	if err != nil {
		return err
	}
	hrefs := make([]string, 0, b.Labels)
	for at := 0; at < b.Labels; at += pce.MaxBulk {
		part := make([]pce.Label, min(pce.MaxBulk, b.Labels-at))
		for i := range part {
			k := keys[(at+i)%len(keys)]
			part[i] = pce.Label{Key: k, Value: fmt.Sprint(k, "-", at+i)}
		}
		results, err := as.Agent(pce.ID(writer.Href)).CreateLabels(ctx, part)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err() != nil {
				return r.Err()
			}
			hrefs = append(hrefs, r.Href)
		}
	}
	if err := b.writeRules(ctx, c, hrefs); err != nil {
		return err
	}
	_, err = c.user.Provision(ctx, pce.Provisioning{UpdateDescription: "bench"})
	return err
}

func (b *Bench) writeRules(ctx context.Context, c *consoleProcess, labels []string) error {
	tcp, next := 6, 0
	label := func() []pce.Actor {
		next += 7 // so that rules do not name neighbours
		return []pce.Actor{{Label: &pce.Ref{Href: labels[next%len(labels)]}}}
	}
	for n := range b.RuleSets {
		set := pce.RuleSet{Name: fmt.Sprint("set ", n), Scopes: [][]pce.Actor{label()}}
		for r := range b.RulesEach {
			port := 1024 + r
			set.Rules = append(set.Rules, pce.Rule{Consumers: label(), Providers: label(), UnscopedConsumers: r%2 == 0,
				IngressServices: []pce.IngressService{{ServicePort: pce.ServicePort{Proto: &tcp, Port: &port}}}})
		}
		made, err := c.user.CreateRuleSet(ctx, set)
		if err != nil {
			return err
		}
		c.sets = append(c.sets, made.Href)
	}
	return nil
}

// proxy counts what the bridge asks of the console.
type proxy struct {
	url    string
	server *http.Server

	requests, polls, received atomic.Int64
}

func startProxy(to string) (*proxy, error) {
	upstream, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the bridge: %w", err)
	}
	p := &proxy{url: "http://" + listener.Addr().String()}
	pass := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ErrorLog: log.New(io.Discard, "", 0), // the bridge's end cuts its poll
	}
	p.server = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if strings.HasSuffix(r.URL.Path, "/agent/"+pce.AgentVersion+"/changes") {
			p.polls.Add(1)
		}
		pass.ServeHTTP(&counter{ResponseWriter: w, bytes: &p.received}, r)
	})}
	go func() { _ = p.server.Serve(listener) }() // ends with Close
	return p, nil
}

func (p *proxy) forget() {
	p.requests.Store(0)
	p.polls.Store(0)
	p.received.Store(0)
}

// counter counts what is written through it.
type counter struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// Unwrap lets the proxy flush.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// ConsoleLine is the command line of the console: without TLS, and without a limit on how often its user may ask.
func ConsoleLine(command, dir, address, key, secret string) []string {
	return []string{command, "--log-level", "error", "serve", "--data", dir + "/console", "--listen", address, "--insecure-http", "--api-key", key, "--api-secret", secret, "--requests-a-minute", "0"}
}
