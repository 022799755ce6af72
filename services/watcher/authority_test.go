package watcher

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/service"
)

// TestTheCertificateNeedsNoLog: it is issued while the log cannot be reached, for without it the log cannot be.
func TestTheCertificateNeedsNoLog(t *testing.T) {
	client := fake.NewClientset()
	cfg := Config{
		Config:      service.Config{LogLevel: "info", LogURL: "nats://127.0.0.1:1", HTTPAddress: "127.0.0.1:0"},
		Credentials: eventlog.Credentials{CAFile: filepath.Join(t.TempDir(), "ca.crt")},
		Namespace:   "illumio-system", Identity: "w", LeaseDuration: calmLease, ProbeInterval: 20 * time.Millisecond, IssueCertificate: true,
	}
	ctx, cancel := context.WithCancel(t.Context())
	svc, err := service.Start(ctx, "watcher", cfg.Config, componentAPI, componentCache)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	svc.Log = zerolog.Nop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg, svc, client, customResources()) }()
	eventlogtest.Eventually(t, func() error {
		if _, err := client.CoreV1().Secrets("illumio-system").Get(t.Context(), "ringfence-log-tls", metav1.GetOptions{}); err != nil {
			return err
		}
		if text, err := os.ReadFile(cfg.CAFile); err != nil || len(text) == 0 {
			return fmt.Errorf("the watcher itself has no authorities: %w", err)
		}
		return nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
