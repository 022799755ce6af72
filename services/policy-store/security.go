package policystore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/identity"
)

// Security is what policy-store can be told of who its clients are and who it is itself. The zero value lets in whoever
// reaches the log.
type Security struct {
	TokenKeys          string `help:"Where the keys of the clients' tokens are published: cluster (by the API server of the cluster that this runs in), an https URL, or a file. Where empty, clients are not asked who they are."`
	TokenKeysCAFile    string `help:"Authorities of the API server's certificate, for a URL." default:"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"`
	TokenKeysTokenFile string `help:"Token for the API server, for a URL." default:"/var/run/secrets/kubernetes.io/serviceaccount/token"`
	TokenIssuer        string `help:"Issuer that tokens must name; where empty, the one of the token for the API server."`
	TokenAudience      string `help:"Audience that tokens must name." default:"ringfence"`
	TokenNamespace     string `help:"Namespace of Ringfence's ServiceAccounts."`

	TLSCertFile     string `help:"Certificate of the log with its chain, in PEM form. Where empty, the log is served in the clear."`
	TLSKeyFile      string `help:"Key of the certificate, in PEM form."`
	TLSClientCAFile string `help:"Authorities of client certificates, in PEM form. Where set, clients need a certificate beside their token."`
}

// keysFile is the name, in the log's folder, of the keys that are kept.
const keysFile = "token-keys.json"

func (s Security) check() error {
	switch {
	case s.TokenKeys != "" && s.TokenNamespace == "":
		return errors.New("token-namespace: tokens are told apart by the namespace of their ServiceAccount; set it to the namespace of the release")
	case s.TokenKeys != "" && s.TokenAudience == "":
		return errors.New("token-audience: tokens for any audience would be taken; use ringfence")
	case strings.HasPrefix(s.TokenKeys, "http:"):
		return fmt.Errorf("token-keys: %s is not protected on its way; use https", s.TokenKeys)
	case (s.TLSCertFile == "") != (s.TLSKeyFile == ""):
		return errors.New("tls-cert-file and tls-key-file: one is not enough; set both or none")
	case s.TLSClientCAFile != "" && s.TLSCertFile == "":
		return errors.New("tls-client-ca-file: client certificates need TLS; set tls-cert-file and tls-key-file")
	}
	return nil
}

// warn says at the start what is open, and what closes it.
func (s Security) warn(log zerolog.Logger) {
	if s.TokenKeys == "" {
		log.Warn().Msg("clients are not asked who they are: whoever reaches this port reads policy and writes facts; set --token-keys and --token-namespace (RINGFENCE_TOKEN_KEYS, RINGFENCE_TOKEN_NAMESPACE)")
	}
	if s.TLSCertFile == "" {
		log.Warn().Msg("the log is served without TLS: what is on the network, tokens too, can be read; set --tls-cert-file and --tls-key-file (RINGFENCE_TLS_CERT_FILE, RINGFENCE_TLS_KEY_FILE)")
	}
}

// verifier gives what verifies tokens, nil where clients are not asked who they are.
func (s Security) verifier(dir string, log zerolog.Logger) (*identity.Verifier, error) {
	if s.TokenKeys == "" {
		return nil, nil
	}
	var source identity.Source = identity.FileSource(s.TokenKeys)
	url, err := s.keysURL(os.Getenv)
	if err != nil {
		return nil, err
	}
	if url != "" {
		source = identity.ClusterSource{URL: url, CAFile: s.TokenKeysCAFile, TokenFile: s.TokenKeysTokenFile}
	}
	issuer := s.TokenIssuer
	if issuer == "" {
		token, err := os.ReadFile(s.TokenKeysTokenFile)
		if err == nil {
			issuer, err = identity.IssuerOf(string(token))
		}
		if err != nil {
			return nil, fmt.Errorf("token-issuer: it is not set, and %s does not give it: %w", s.TokenKeysTokenFile, err)
		}
	}
	return &identity.Verifier{
		Issuer: issuer, Audience: s.TokenAudience, Namespace: s.TokenNamespace,
		Keys: identity.NewKeys(source, filepath.Join(dir, keysFile), log.With().Str("component", "token-keys").Logger()),
	}, nil
}

// keysURL is where to ask for the keys, empty where a file holds them. The API server is reached by its address, so that
// nothing depends on cluster DNS.
func (s Security) keysURL(getenv func(string) string) (string, error) {
	if strings.HasPrefix(s.TokenKeys, "https:") {
		return s.TokenKeys, nil
	}
	if s.TokenKeys != "cluster" {
		return "", nil
	}
	server, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if server == "" || port == "" {
		return "", errors.New("token-keys: cluster means the API server that KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name, which are not set; give a URL or a file outside of a cluster")
	}
	return "https://" + net.JoinHostPort(server, port) + "/openid/v1/jwks", nil
}

// keepKeys keeps the keys of a verifier current until ctx ends.
func keepKeys(ctx context.Context, v *identity.Verifier) {
	if v != nil {
		v.Keys.Run(ctx)
	}
}
