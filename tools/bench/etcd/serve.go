package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// quota is room enough for every load; etcd's default of 2 GiB is not.
const quota = 8 << 30

// startTimeout bounds the election of the only member.
const startTimeout = time.Minute

type serveCommand struct {
	Dir    string `required:"" help:"Folder of the data."`
	Listen string `required:"" help:"Address for clients."`
}

// Run serves with etcd's own settings, every write synced to the disk among them, but for what is said here.
func (c *serveCommand) Run(ctx context.Context) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.QuotaBackendBytes = c.Dir, "error", quota
	clients, peers := url.URL{Scheme: "http", Host: c.Listen}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return fmt.Errorf("start etcd: %w", err)
	case <-time.After(startTimeout):
		return errors.New("start etcd: not ready within a minute")
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd stopped: %w", err)
	}
}
