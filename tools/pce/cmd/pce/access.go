package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

// access is how a command reaches a console that runs.
type access struct {
	Console   string `help:"Address of a console that runs: host:port or a URL." env:"PCE_URL" placeholder:"URL"`
	OrgID     int    `help:"Number of the organisation." name:"org" default:"1" env:"PCE_ORG"`
	RootCA    string `help:"PEM file of the authority of the console's certificate; the system's authorities where empty." env:"PCE_ROOT_CA" placeholder:"FILE"`
	APIKey    string `help:"API key." env:"PCE_API_KEY"`
	APISecret string `help:"Secret of the API key, at least 16 characters." env:"PCE_API_SECRET"`
}

// client connects to the console.
func (a access) client() (*api.Client, error) {
	if a.Console == "" || a.APIKey == "" || a.APISecret == "" {
		return nil, errors.New("a console that runs needs --console, --api-key and --api-secret (PCE_URL, PCE_API_KEY, PCE_API_SECRET)")
	}
	config := api.Config{URL: a.Console, OrgID: a.OrgID, User: a.APIKey, Secret: a.APISecret, Timeout: 2 * time.Minute, Retries: 4}
	if a.RootCA != "" {
		text, err := os.ReadFile(a.RootCA)
		if err != nil {
			return nil, fmt.Errorf("authority of the console: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("authority of the console: %s holds no certificate", a.RootCA)
		}
	}
	return api.New(config)
}
