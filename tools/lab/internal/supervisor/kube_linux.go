package supervisor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/pki"
)

// kube is the few calls to the API server that a lab needs. client-go would be nine tenths of this program.
type kube struct {
	server string
	client *http.Client
}

func newKube(server string, authority *pki.Authority, identity string) (*kube, error) {
	ca, err := os.ReadFile(authority.CACert())
	if err != nil {
		return nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(authority.Cert(identity), authority.Key(identity))
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s: %w", identity, err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}}
	return &kube{server: server, client: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// do makes one request; any status of 300 and above is an error with the server's own words.
func (k *kube) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, k.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return nil, &apiError{method: method, path: path, status: resp.StatusCode, message: message(answer)}
	}
	return answer, nil
}

// apiError is a refusal by the API server.
type apiError struct {
	method, path, message string
	status                int
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.method, e.path, e.status, e.message)
}

func message(answer []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(answer, &status) == nil && status.Message != "" {
		return status.Message
	}
	return strings.TrimSpace(string(answer))
}

func (k *kube) get(ctx context.Context, path string) ([]byte, error) {
	return k.do(ctx, http.MethodGet, path, "application/json", nil)
}

// apply is a server-side apply.
func (k *kube) apply(ctx context.Context, o config.Object) error {
	_, err := k.do(ctx, http.MethodPatch, o.Path+"?fieldManager=ringfence-lab&force=true", "application/apply-patch+yaml", []byte(o.YAML))
	return err
}

// createNode creates a Node object; one that exists is left as it is.
func (k *kube) createNode(ctx context.Context, object string) error {
	_, err := k.do(ctx, http.MethodPost, "/api/v1/nodes", "application/json", []byte(object))
	var refused *apiError
	if errors.As(err, &refused) && refused.status == http.StatusConflict {
		return nil
	}
	return err
}

// nodes lists the nodes in the order of their names.
func (k *kube) nodes(ctx context.Context) ([]control.Node, error) {
	answer, err := k.get(ctx, "/api/v1/nodes")
	if err != nil {
		return nil, err
	}
	return parseNodes(answer)
}

func parseNodes(answer []byte) ([]control.Node, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ PodCIDRs []string }
			Status   struct {
				Addresses  []struct{ Type, Address string }
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("read the list of nodes: %w", err)
	}
	var nodes []control.Node
	for _, item := range list.Items {
		n := control.Node{Name: item.Metadata.Name, State: control.NotReady, PodCIDRs: item.Spec.PodCIDRs}
		for _, c := range item.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				n.State = control.Ready
			}
		}
		for _, a := range item.Status.Addresses {
			if a.Type == "InternalIP" {
				n.Addresses = append(n.Addresses, a.Address)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}
