package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-jose/go-jose/v4"
	"github.com/rs/zerolog"
)

const (
	// keysInterval is how often the keys are fetched without cause.
	keysInterval = 5 * time.Minute
	// keysPause is the least time between two fetches that tokens cause, so that tokens with made-up keys are no way to
	// trouble the API server.
	keysPause = 5 * time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 5 * time.Second
	// maxDocument bounds the document of keys.
	maxDocument = 1 << 20
)

// Source is where the cluster publishes its keys. Fetch gives the document (JSON Web Key Set, RFC 7517); it is not called
// concurrently. An error means that the issuer cannot be reached now.
type Source interface {
	Fetch(ctx context.Context) ([]byte, error)
}

// Keys are the cluster's published keys, kept on disk. They are safe for concurrent use.
type Keys struct {
	source Source
	file   string
	log    zerolog.Logger

	fetching sync.Mutex // held while one fetch is under way
	wait     *backoff.ExponentialBackOff

	mu      sync.RWMutex
	keys    map[string]jose.JSONWebKey // by key id
	failure error                      // of the last fetch
	fetched time.Time                  // end of the last fetch that succeeded
	next    time.Time                  // when tokens may cause the next one
}

var errNeverFetched = errors.New("the keys were not fetched yet")

// NewKeys gives the keys that file holds from an earlier run, if any. An empty file keeps them in memory alone. Run keeps
// them current.
func NewKeys(source Source, file string, log zerolog.Logger) *Keys {
	k := &Keys{source: source, file: file, log: log, wait: backoff.NewExponentialBackOff(), failure: errNeverFetched}
	k.wait.InitialInterval, k.wait.MaxInterval = time.Second, time.Minute
	if file == "" {
		return k
	}
	document, err := os.ReadFile(file)
	if err == nil {
		k.keys, err = parseKeys(document)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn().Err(err).Str("file", file).Msg("the kept token keys cannot be used; they are fetched anew")
	}
	return k
}

// Run fetches the keys now and every five minutes, after failures with back-off, until ctx ends.
func (k *Keys) Run(ctx context.Context) {
	for ctx.Err() == nil {
		k.refresh(ctx, true)
		k.mu.RLock()
		wait := keysInterval
		if k.failure != nil {
			wait = time.Until(k.next)
		}
		k.mu.RUnlock()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Fetched is when the keys were last fetched, zero before the first time, and why the last attempt failed, nil where it
// did not.
func (k *Keys) Fetched() (time.Time, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.fetched, k.failure
}

// find gives the key of an id, after a look at the source where it is unknown.
func (k *Keys) find(ctx context.Context, id string) (jose.JSONWebKey, error) {
	if key, known := k.known(id); known {
		return key, nil
	}
	k.refresh(ctx, false)
	if key, known := k.known(id); known {
		return key, nil
	}
	if _, err := k.Fetched(); err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("%w: %q; they could not be fetched: %w", ErrUnknownKey, printable(id), err)
	}
	return jose.JSONWebKey{}, fmt.Errorf("%w: %q", ErrUnknownKey, printable(id))
}

func (k *Keys) known(id string) (jose.JSONWebKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, known := k.keys[id]
	return key, known
}

// printable keeps what a stranger wrote from filling a log.
func printable(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// away is why the issuer cannot be reached, nil while it can.
func (k *Keys) away(ctx context.Context) error {
	k.refresh(ctx, false)
	_, err := k.Fetched()
	return err
}

// refresh fetches the keys. Where a token is the cause, and not the time, it is left out soon after the last fetch.
func (k *Keys) refresh(ctx context.Context, now bool) {
	k.fetching.Lock()
	defer k.fetching.Unlock()
	k.mu.RLock()
	early := time.Now().Before(k.next)
	k.mu.RUnlock()
	if early && !now {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	document, err := k.source.Fetch(ctx)
	var keys map[string]jose.JSONWebKey
	if err == nil {
		keys, err = parseKeys(document)
	}
	if err != nil {
		k.failed(err)
		return
	}
	k.take(keys)
	k.keep(document)
}

func (k *Keys) failed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil || k.failure.Error() != err.Error() {
		k.log.Warn().Err(err).Int("keys", len(k.keys)).Msg("the token keys cannot be fetched; those that are known stay")
	}
	k.failure, k.next = err, time.Now().Add(k.wait.NextBackOff())
}

func (k *Keys) take(keys map[string]jose.JSONWebKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		k.log.Info().Int("keys", len(keys)).Msg("the token keys were fetched")
	}
	k.wait.Reset()
	k.keys, k.failure, k.fetched, k.next = keys, nil, time.Now(), time.Now().Add(keysPause)
}

// keep writes the document to disk, whole or not at all. A disk that takes no write costs a start without API server, no
// more, so it is only logged.
func (k *Keys) keep(document []byte) {
	if k.file == "" {
		return
	}
	if kept, err := os.ReadFile(k.file); err == nil && string(kept) == string(document) {
		return
	}
	var f *os.File
	err := os.MkdirAll(filepath.Dir(k.file), 0o700)
	if err == nil {
		f, err = os.CreateTemp(filepath.Dir(k.file), ".token-keys-*")
	}
	if err == nil {
		_, err = f.Write(document)
		if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
			err = os.Rename(f.Name(), k.file)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}
	if err != nil {
		k.log.Warn().Err(err).Str("file", k.file).Msg("the token keys could not be kept")
	}
}

// parseKeys reads a document. Keys of a kind that is not known here, or not for signatures, are left out; a document
// without any other is refused.
func parseKeys(document []byte) (map[string]jose.JSONWebKey, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("token keys: a document of %d bytes; at most %d are read", len(document), maxDocument)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("token keys: not a JSON Web Key Set: %w", err)
	}
	out := map[string]jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			out[key.KeyID] = key
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("token keys: none of %d entries under keys is a public key for signatures", len(set.Keys))
	}
	return out, nil
}
