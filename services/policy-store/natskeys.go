package policystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// Names of the keys with which policy-store lets clients into an external cluster, and of their files. Their public halves
// are in the configuration of the cluster's servers, their seeds with policy-store alone.
const (
	keyIssuer  = "issuer"       // signs the rights of clients
	keyBox     = "xkey"         // opens what servers ask, which holds the clients' tokens
	keyCallout = "callout"      // as whom policy-store is asked
	keyStore   = "policy-store" // as whom it uses the log
	keySystem  = "system"       // as whom it ends connections
)

// natsKeys are all of them, by name.
type natsKeys map[string]nkeys.KeyPair

// keyKinds say how each is made, and what its public half begins with.
var keyKinds = map[string]struct {
	create func() (nkeys.KeyPair, error)
	prefix nkeys.PrefixByte
}{
	keyIssuer: {nkeys.CreateAccount, nkeys.PrefixByteAccount}, keyBox: {nkeys.CreateCurveKeys, nkeys.PrefixByteCurve},
	keyCallout: {nkeys.CreateUser, nkeys.PrefixByteUser}, keyStore: {nkeys.CreateUser, nkeys.PrefixByteUser}, keySystem: {nkeys.CreateUser, nkeys.PrefixByteUser},
}

// readNATSKeys reads the keys of a folder. Errors name the file.
func readNATSKeys(dir string) (natsKeys, error) {
	keys := natsKeys{}
	for name, kind := range keyKinds {
		file := filepath.Join(dir, name)
		seed, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("key: %w; policy-store nats-config makes it", err)
		}
		if keys[name], err = parseSeed(seed, kind.prefix); err != nil {
			return nil, fmt.Errorf("key %s: %w", file, err)
		}
	}
	return keys, nil
}

// parseSeed reads the seed of a key of one kind. No error holds a part of it.
func parseSeed(text []byte, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	key, err := nkeys.FromSeed(bytes.TrimSpace(text))
	if err != nil {
		return nil, errors.New("it is no seed of an NKey")
	}
	public, err := key.PublicKey()
	if err != nil || nkeys.Prefix(public) != kind {
		return nil, fmt.Errorf("it is the seed of another kind of key; this must be one of kind %s", kind)
	}
	return key, nil
}

// makeNATSKeys makes the keys that a folder lacks.
func makeNATSKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder of the keys: %w", err)
	}
	for name, kind := range keyKinds {
		key, err := kind.create()
		var seed []byte
		if err == nil {
			seed, err = key.Seed()
		}
		if err == nil {
			err = create(filepath.Join(dir, name), append(seed, '\n'))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("key %s: %w", name, err)
		}
	}
	return nil
}

// create writes a file that nobody else reads, unless it exists.
func create(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// public is the public half of a key.
func (k natsKeys) public(name string) (string, error) {
	public, err := k[name].PublicKey()
	if err != nil {
		return "", fmt.Errorf("key %s: %w", name, err)
	}
	return public, nil
}
