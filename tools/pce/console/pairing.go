package console

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// unlimited is the value of a limit that is none.
const unlimited = "unlimited"

// usesField and usedField count what was paired with a key, and with a profile.
const (
	usesField       = privatePrefix + "uses"
	totalUsesField  = "total_use_count"
	lastPairedField = "last_pairing_at"
)

func checkPairing(v *validation, id string, doc, before document) (document, error) {
	doc = doc.otherwise(map[string]any{
		"enabled": true, "enforcement_mode": pce.ModeVisibilityOnly, "visibility_level": "flow_summary", "labels": []string{},
		"key_lifespan": unlimited, "allowed_uses_per_key": unlimited, "is_default": false, "ven_type": "server", "log_traffic": true,
		"enforcement_mode_lock": true, "mode_lock": true, "visibility_level_lock": true, "log_traffic_lock": true,
		"role_label_lock": true, "app_label_lock": true, "env_label_lock": true, "loc_label_lock": true,
	})
	doc = doc.set("mode", legacyMode(doc.text("enforcement_mode"))).keep(before, []string{totalUsesField, lastPairedField})
	var p pce.PairingProfile
	if err := doc.into(&p); err != nil {
		return nil, err
	}
	if err := oneOf("enforcement_mode", p.EnforcementMode, modes); err != nil {
		return nil, err
	}
	if err := oneOf("visibility_level", p.VisibilityLevel, visibilityLevels); err != nil {
		return nil, err
	}
	for _, field := range []string{"key_lifespan", "allowed_uses_per_key"} {
		if _, err := doc.limit(field); err != nil {
			return nil, err
		}
	}
	doc, err := v.oneLabelPerKey(doc, "labels", p.Labels)
	if err != nil {
		return nil, err
	}
	return doc, checkNamed(v, id, doc)
}

// limit is a number, or -1 where the field says "unlimited".
func (d document) limit(field string) (int64, error) {
	if d.text(field) == unlimited {
		return -1, nil
	}
	var n json.Number
	if json.Unmarshal(d[field], &n) == nil {
		if value, err := n.Int64(); err == nil && value > 0 {
			return value, nil
		}
	}
	return 0, invalid(field, "%s is neither a positive number nor %q", d[field], unlimited)
}

// createPairingKey makes a key of a pairing profile; like every secret it is given once and kept as a hash.
func (c *Console) createPairingKey(r request) (response, error) {
	code := secretOf()
	err := c.store.write(r.Context(), r.who.href, "pairing_profile.create_pairing_key", func(t *transaction) error {
		id := r.PathValue("id")
		if t.state.get(tablePairing, id) == nil {
			return notFound(hrefOf(tablePairing, id, ""))
		}
		t.create(tablePairKeys, newUUID(), id, document{}.set(hashField, hashOf(code)))
		return nil
	})
	return response{status: http.StatusCreated, body: map[string]string{"activation_code": code}}, err
}

// redeem counts the use of a pairing key by as many machines and gives the id of its profile, unless the key is unknown,
// expired or used up, or its profile is disabled.
func (t *transaction) redeem(code string, machines int) (profile string, err error) {
	for id := range t.state.index.found[lookup{tablePairKeys, "", hashField, hashOf(code)}] {
		return t.state.get(tablePairKeys, id).Owner, t.countUse(id, machines)
	}
	return "", refuse(http.StatusNotAcceptable, "activation_code_unknown", "the activation code is not a key of a pairing profile")
}

func (t *transaction) countUse(id string, machines int) error {
	key := t.get(tablePairKeys, id)
	profile := t.get(tablePairing, key.Owner)
	if profile == nil || !profile.Doc.flag("enabled", true) {
		return refuse(http.StatusNotAcceptable, "pairing_profile_disabled", "%s is disabled or does not exist", hrefOf(tablePairing, key.Owner, ""))
	}
	lifespan, err := profile.Doc.limit("key_lifespan")
	if err != nil {
		return err
	}
	if age := t.edit.At.Sub(key.CreatedAt); lifespan >= 0 && age > time.Duration(lifespan)*time.Second {
		return refuse(http.StatusNotAcceptable, "activation_code_expired", "the activation code of %s has expired", hrefOf(tablePairing, key.Owner, ""))
	}
	allowed, err := profile.Doc.limit("allowed_uses_per_key")
	if err != nil {
		return err
	}
	uses := key.Doc.count(usesField) + int64(machines)
	if allowed >= 0 && uses > allowed {
		return refuse(http.StatusNotAcceptable, "activation_code_used_up", "the activation code of %s may pair %d machines", hrefOf(tablePairing, key.Owner, ""), allowed)
	}
	t.put(tablePairKeys, id, counted(*key, usesField, uses))
	used := counted(*profile, totalUsesField, profile.Doc.count(totalUsesField)+int64(machines))
	used.Doc = used.Doc.set(lastPairedField, t.edit.At)
	t.put(tablePairing, key.Owner, used)
	return nil
}

// counted is a record with another count; it keeps its author, who did not count.
func counted(r record, field string, n int64) *record {
	r.Doc = r.Doc.set(field, n)
	return &r
}

func (d document) count(field string) (n int64) {
	if json.Unmarshal(d[field], &n) != nil {
		return 0
	}
	return n
}
