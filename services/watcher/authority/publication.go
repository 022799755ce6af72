package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// announced is how long clients have a new authority before anything is signed by it. It counts from its publication: the kubelet
// brings a ConfigMap to pods in a minute or two, so that the clocks of two leaders may differ by hours.
const announced = 24 * time.Hour

// publication is an authority that clients are told to trust, and since when without a break.
type publication struct {
	cert  *x509.Certificate
	since time.Time
}

// known says whether clients have had the time to learn of an authority.
func (m material) known(c *x509.Certificate, now time.Time) bool {
	return slices.ContainsFunc(m.published, func(p publication) bool { return p.cert.Equal(c) && !now.Before(p.since.Add(announced)) })
}

// parsePublished reads a ConfigMap: the authorities in it, and the times beside them, a JSON object from fingerprint to time. An
// authority whose time is missing, unreadable, to come, or before it was made counts from now on; the error says what was
// unreadable, and what could be read is given with it.
func parsePublished(bundle, times string, now time.Time) (out []publication, _ error) {
	certs, err := parseCertificates([]byte(bundle))
	var since map[string]string
	if times != "" {
		err = errors.Join(err, json.Unmarshal([]byte(times), &since))
	}
	for _, c := range certs {
		p := publication{c, now}
		if text, stored := since[fingerprint(c)]; stored {
			at, bad := time.Parse(time.RFC3339, text)
			if err = errors.Join(err, bad); bad == nil && !at.After(now) && !at.Before(c.NotBefore) {
				p.since = at
			}
		}
		out = append(out, p)
	}
	return out, err
}

// writePublished gives what is to stand in the ConfigMap from now on.
func (m material) writePublished(now time.Time) (bundle, times string, err error) {
	since := map[string]string{}
	for _, c := range m.trusted() {
		at := now
		if i := slices.IndexFunc(m.published, func(p publication) bool { return p.cert.Equal(c) }); i >= 0 {
			at = m.published[i].since
		}
		since[fingerprint(c)] = at.UTC().Format(time.RFC3339)
	}
	text, err := json.Marshal(since)
	if err != nil {
		return "", "", fmt.Errorf("times of publication: %w", err)
	}
	return string(writeCertificates(m.trusted()...)), string(text), nil
}

// fingerprint names a certificate, by the SHA-256 of it in hex.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
