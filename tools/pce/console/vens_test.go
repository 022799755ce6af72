package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/journal"
)

const venKey, venSecret = "api_vens", "0123456789abcdef"

// inside is a console with a cluster, seen from within: machines are paired by code that has no public path.
type inside struct {
	*testing.T
	*Console
	cluster string
	now     time.Time
}

func newInside(t *testing.T) *inside {
	j, err := journal.Open(t.Context(), t.TempDir(), 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	c, err := Open(t.Context(), j, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	in := &inside{T: t, Console: c, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.store.now = func() time.Time { return in.now }
	if _, err := c.EnsureKey(t.Context(), APIKey{ID: venKey, Secret: venSecret}); err != nil {
		t.Fatal(err)
	}
	made, err := c.EnsureCluster(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	in.cluster = made.ClusterID
	return in
}

func (in *inside) edit(change func(*transaction) error) error {
	in.Helper()
	return in.store.write(in.Context(), hrefOf(tableClusters, in.cluster, ""), "test", change)
}

// pair pairs a machine and gives the hrefs of the workload and its VEN.
func (in *inside) pair(name string, labels ...pce.Ref) (workload, ven string) {
	in.Helper()
	var id string
	err := in.edit(func(t *transaction) (err error) {
		id, err = t.pair(in.cluster, document{}.set("hostname", name).set("labels", append([]pce.Ref{}, labels...)).
			set("interfaces", []pce.Interface{{Name: "eth0", Address: "10.0.0.1"}}), document{}.set("hostname", name).set("version", "1.2.3"))
		return err
	})
	if err != nil {
		in.Fatal(err)
	}
	in.store.view(func(s *state) { ven = hrefOf(tableVENs, s.venOf(id), "") })
	return hrefOf(tableMachines, id, ""), ven
}

func (in *inside) do(method, href string, body any) (int, string) {
	in.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		in.Fatal(err)
	}
	req := httptest.NewRequestWithContext(in.Context(), method, "/api/v2"+href, strings.NewReader(string(encoded)))
	req.SetBasicAuth(venKey, venSecret)
	answer := httptest.NewRecorder()
	in.ServeHTTP(answer, req)
	return answer.Code, answer.Body.String()
}

func (in *inside) want(status int, text, method, href string, body any) {
	in.Helper()
	if got, answer := in.do(method, href, body); got != status || !strings.Contains(answer, text) {
		in.Fatalf("%s %s: %d %s, want %d with %q", method, href, got, answer, status, text)
	}
}

// A machine with an agent is a workload and a VEN, which come and go together.
func TestManagedWorkloads(t *testing.T) {
	in := newInside(t)
	if err := in.edit(func(t *transaction) error {
		t.create(tableLabels, "50", "", labelOf("role", "node"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	workload, ven := in.pair("node-1", pce.Ref{Href: org + "/labels/50"})
	for _, text := range []string{`"managed":true`, `"online":false`, `"labels":[{"href":"/orgs/1/labels/50","key":"role","value":"node"}]`, `"agent_version":"1.2.3"`,
		`"name":"lab"`, `"href":"` + ven + `"`, `"managed_since":"2026-01-02T03:04:05Z"`} {
		in.want(http.StatusOK, text, "GET", workload, nil)
	}
	in.agents.called(in.cluster)
	in.want(http.StatusOK, `"online":true`, "GET", workload, nil)
	in.want(http.StatusOK, workload, "GET", org+"/workloads?managed=true&online=true", nil)
	in.want(http.StatusOK, "[]", "GET", org+"/workloads?online=false", nil)
	in.want(http.StatusOK, `"workloads":[{"`, "GET", ven, nil)
	in.want(http.StatusOK, ven, "GET", org+"/vens?hostname=NODE&ip_address=10.0&status=active", nil)
	in.want(http.StatusOK, "[]", "GET", org+"/vens?status=suspended", nil)

	in.want(http.StatusNoContent, "", "PUT", workload, map[string]any{"hostname": "mine", "enforcement_mode": "full", "description": "d", "labels": []string{}})
	in.want(http.StatusOK, `"hostname":"node-1"`, "GET", workload, nil)
	in.want(http.StatusOK, `"enforcement_mode":"full"`, "GET", workload, nil)
	in.want(http.StatusNoContent, "", "PUT", ven, map[string]any{"status": "suspended", "version": "9", "name": "n"})
	in.want(http.StatusOK, `"version":"1.2.3"`, "GET", ven, nil)
	in.want(http.StatusNotAcceptable, `status: \"gone\"`, "PUT", ven, map[string]any{"status": "gone"})
	in.want(http.StatusNotAcceptable, "workload_is_managed", "DELETE", workload, nil)
	in.want(http.StatusOK, `"token":"ven_upgrade_not_supported"`, "PUT", org+"/vens/upgrade", map[string]any{"vens": []pce.Ref{{Href: ven}}, "release": "2"})

	in.want(http.StatusNotAcceptable, "which reports its interfaces", "POST", workload+"/interfaces", pce.Interface{Name: "eth1"})

	refs := []pce.Ref{{Href: workload}}
	in.want(http.StatusNotAcceptable, "ip_table_restore", "PUT", org+"/workloads/unpair", map[string]any{"workloads": refs, "ip_table_restore": "never"})
	in.want(http.StatusNotAcceptable, "is not managed", "PUT", org+"/workloads/unpair", map[string]any{"workloads": []pce.Ref{{Href: org + "/workloads/none"}}})
	in.want(http.StatusNoContent, "", "PUT", org+"/workloads/unpair", map[string]any{"workloads": refs, "ip_table_restore": "saved"})
	in.want(http.StatusNotFound, "", "GET", workload, nil)
	in.want(http.StatusNotFound, "", "GET", ven, nil)
	workload, ven = in.pair("node-2")
	in.want(http.StatusNoContent, "", "PUT", org+"/vens/unpair", map[string]any{"vens": []pce.Ref{{Href: ven}}, "firewall_restore": "default"})
	in.want(http.StatusNotFound, "", "GET", workload, nil)
	workload, _ = in.pair("node-3")
	in.want(http.StatusNoContent, "", "DELETE", hrefOf(tableClusters, in.cluster, ""), nil)
	in.want(http.StatusNotFound, "", "GET", workload, nil)
}

// A key pairs as many machines as its profile allows, as long as the profile allows.
func TestPairingKeysHaveLimits(t *testing.T) {
	in := newInside(t)
	var profile, code string
	in.want(http.StatusNotAcceptable, "key_lifespan", "POST", org+"/pairing_profiles", map[string]any{"name": "few", "key_lifespan": "long"})
	_, body := in.do("POST", org+"/pairing_profiles", map[string]any{"name": "few", "enabled": true, "key_lifespan": 60, "allowed_uses_per_key": 3})
	var made struct{ Href string }
	if err := json.Unmarshal([]byte(body), &made); err != nil || made.Href == "" {
		t.Fatalf("%s: %v", body, err)
	}
	profile = made.Href
	newCode := func() {
		t.Helper()
		_, body := in.do("POST", profile+"/pairing_key", map[string]any{})
		var key struct {
			Code string `json:"activation_code"`
		}
		if err := json.Unmarshal([]byte(body), &key); err != nil {
			t.Fatal(err)
		}
		code = key.Code
	}
	redeem := func(machines int) error {
		return in.edit(func(t *transaction) error {
			id, err := t.redeem(code, machines)
			if err == nil && hrefOf(tablePairing, id, "") != profile {
				in.Errorf("the key is of profile %s", id)
			}
			return err
		})
	}
	refused := func(err error, token string) {
		t.Helper()
		var r *refusal
		if !errors.As(err, &r) || r.messages[0].Token != token {
			t.Fatalf("got %v, want %s", err, token)
		}
	}
	newCode()
	if err := errors.Join(redeem(2), redeem(1)); err != nil {
		t.Fatal(err)
	}
	refused(redeem(1), "activation_code_used_up")
	newCode()
	if err := redeem(1); err != nil {
		t.Fatal(err)
	}
	in.now = in.now.Add(61 * time.Second)
	refused(redeem(1), "activation_code_expired")
	in.want(http.StatusOK, `"total_use_count":4`, "GET", profile, nil)
	in.want(http.StatusOK, `"last_pairing_at":"2026-01-02T03:04:05Z"`, "GET", profile, nil)
	newCode()
	in.want(http.StatusNoContent, "", "PUT", profile, map[string]any{"enabled": false, "total_use_count": 0})
	in.want(http.StatusOK, `"total_use_count":4`, "GET", profile, nil)
	refused(redeem(1), "pairing_profile_disabled")
	code = "unheard of"
	refused(redeem(1), "activation_code_unknown")
}
