package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// FileSource reads the keys from a file.
type FileSource string

// Fetch implements Source.
func (f FileSource) Fetch(context.Context) ([]byte, error) {
	document, err := os.ReadFile(string(f))
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	return document, nil
}

// ClusterSource asks the API server for the keys. Files are read at every fetch, because Kubernetes renews them.
type ClusterSource struct {
	// URL is that of the document, with the scheme https.
	URL string
	// CAFile holds the authorities of the API server's certificate, in PEM form.
	CAFile string
	// TokenFile holds a token for the API server itself; every ServiceAccount may read the keys.
	TokenFile string
}

// Fetch implements Source.
func (s ClusterSource) Fetch(ctx context.Context) ([]byte, error) {
	client, err := s.client()
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	token, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("token keys: %s answers %s", s.URL, response.Status)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("token keys: %s: %w", s.URL, err)
	}
	return document, nil
}

func (s ClusterSource) client() (*http.Client, error) {
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", s.CAFile)
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		// A token must not follow a redirect to elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
