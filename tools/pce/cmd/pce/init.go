package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce"
	"github.com/ringfence/ringfence/tools/pce/certs"
	"github.com/ringfence/ringfence/tools/pce/console"
	"github.com/ringfence/ringfence/tools/pce/journal"
	"github.com/ringfence/ringfence/tools/pce/onboarding"
)

type initCommand struct {
	Data     string   `help:"Folder of a console that does not run." env:"PCE_DATA" placeholder:"DIR"`
	StoreMiB int64    `help:"Room for edits, in MiB." name:"store-mib" default:"1024" env:"PCE_STORE_MIB"`
	Cluster  string   `help:"Name of the container cluster; empty for none." default:"kubernetes"`
	Host     []string `help:"Names and addresses under which the console is reached." default:"localhost,127.0.0.1,::1" env:"PCE_HOST"`
	PCEURL   string   `help:"host:port at which the cluster reaches the console. Default: the first --host and port 8443, or --console." name:"pce-url" placeholder:"HOST:PORT"`
	Renew    []string `help:"Make these secrets anew where they exist: api-secret, cluster-token, cluster-code, or all." enum:"api-secret,cluster-token,cluster-code,all" placeholder:"SECRET"`

	access `embed:""`

	Output string `help:"What to print: text, json, or values for the chart." short:"o" enum:"text,json,values" default:"text"`
	Values string `help:"Write the values for the chart into this file, too, for its owner alone to read." placeholder:"FILE"`
}

// Run prepares a data folder, or asks the console that runs.
func (c *initCommand) Run(ctx context.Context, log zerolog.Logger) error {
	out, err := c.prepare(ctx, log)
	if err != nil {
		return err
	}
	if c.Output == "values" && out.Secret != "" {
		fmt.Fprintf(os.Stderr, "api_key %s, api_secret %s: given only now, keep it\n", out.APIKey.ID, out.Secret)
	}
	if c.Values != "" {
		var text bytes.Buffer
		if err := out.Values(&text); err != nil {
			return err
		}
		if err := os.WriteFile(c.Values, text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("values for the chart: %w", err)
		}
		out.ValuesFile = c.Values
	}
	return map[string]func(io.Writer) error{"text": out.Text, "json": out.JSON, "values": out.Values}[c.Output](os.Stdout)
}

func (c *initCommand) prepare(ctx context.Context, log zerolog.Logger) (onboarding.Result, error) {
	request := onboarding.Request{Key: console.APIKey{ID: c.APIKey, Secret: c.APISecret}, Cluster: c.Cluster, Renew: c.Renew}
	switch {
	case c.Console != "":
		return c.ask(ctx, request)
	case c.Data != "":
		return c.inFolder(ctx, log, request)
	}
	return onboarding.Result{}, errors.New("give the folder of a console with --data, or the address of one that runs with --console")
}

func (c *initCommand) inFolder(ctx context.Context, log zerolog.Logger, request onboarding.Request) (onboarding.Result, error) {
	opened, err := pce.Open(ctx, pce.Data{Data: c.Data, StoreMiB: c.StoreMiB}, log)
	if errors.Is(err, journal.ErrInUse) {
		return onboarding.Result{}, fmt.Errorf("%w: ask it with --console localhost:8443 --root-ca %s --api-key KEY --api-secret SECRET", err, certs.CAFile(c.Data))
	}
	if err != nil {
		return onboarding.Result{}, err
	}
	defer opened.Close()
	if _, err := certs.Authority(c.Data); err != nil {
		return onboarding.Result{}, err
	}
	if slices.Contains(request.Renew, "all") {
		request.Renew = []string{onboarding.APISecret, onboarding.ClusterToken, onboarding.ClusterCode}
	}
	out, err := onboarding.Folder(ctx, opened, request)
	if err != nil {
		return out, err
	}
	out.Data, out.CAFile, out.URL = c.Data, certs.CAFile(c.Data), c.address(net.JoinHostPort(c.Host[0], "8443"))
	out.Hosts = strings.Join(c.Host, ",")
	ca, err := os.ReadFile(out.CAFile)
	out.RootCA = string(ca)
	return out, err
}

func (c *initCommand) ask(ctx context.Context, request onboarding.Request) (onboarding.Result, error) {
	client, err := c.client()
	if err != nil {
		return onboarding.Result{}, err
	}
	if slices.Contains(request.Renew, "all") {
		request.Renew = []string{onboarding.ClusterCode}
	}
	out, err := onboarding.Running(ctx, client, request)
	if err != nil {
		return out, err
	}
	out.URL, out.CAFile, out.Secret = c.address(hostPort(c.Console)), c.RootCA, "" // whoever asks knows the secret
	if c.RootCA != "" {
		ca, err := os.ReadFile(c.RootCA)
		if err != nil {
			return out, err
		}
		out.RootCA = string(ca)
	}
	return out, nil
}

func (c *initCommand) address(otherwise string) string {
	if c.PCEURL != "" {
		return c.PCEURL
	}
	return otherwise
}

// hostPort reduces a URL to what the chart takes.
func hostPort(address string) string {
	if !strings.Contains(address, "://") {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if u.Port() == "" && u.Scheme == "https" {
		return u.Host + ":443"
	}
	return u.Host
}
