package pce

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestActorKeepsUnknownKinds(t *testing.T) {
	var a Actor
	if err := json.Unmarshal([]byte(`{"user_group":{"href":"x"},"exclusion":true,"label":{"href":"l"}}`), &a); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Actor{Label: &Ref{"l"}, Exclusion: true, Unknown: []string{"user_group"}}, a); diff != "" {
		t.Fatal(diff)
	}
}

// An empty restriction allows no annotation; none at all leaves them free. Encoding must keep the two apart.
func TestRestrictionRoundTrip(t *testing.T) {
	for _, text := range []string{`{"key":"app","restriction":[]}`, `{"key":"app"}`, `{"key":"app","assignment":{"href":"l"}}`} {
		var l ProfileLabel
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(l)
		if err != nil || string(got) != text {
			t.Errorf("%s became %s (%v)", text, got, err)
		}
	}
}

// FuzzDecode feeds one answer to every type that the client decodes: whatever it holds, decoding gives a value that
// survives being encoded and decoded again, or an error with a kind; never a panic.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[{"href":"/orgs/1/labels/1","key":"app","value":"web","created_at":"2026-01-02T03:04:05Z","created_by":{"href":"/users/1"}}]`,
		`[{"href":"/orgs/1/sec_policy/active/ip_lists/1","name":"x","ip_ranges":[{"from_ip":"10.0.0.0/8","exclusion":true}],"fqdns":[{"fqdn":"*.example.com"}]}]`,
		`[{"href":"s","name":"https","service_ports":[{"port":443,"proto":6},{"proto":1,"icmp_type":8}],"windows_services":[{"x":1}]}]`,
		`[{"href":"r","enabled":true,"scopes":[[{"label":{"href":"l"}}],[]],"rules":[{"href":"q","consumers":[{"actors":"ams"}],"providers":[{"ip_list":{"href":"i"}}],` +
			`"ingress_services":[{"href":"s"},{"port":80,"to_port":90,"proto":6}],"unscoped_consumers":true,"resolve_labels_as":{"providers":["workloads"],"consumers":[]}}],"deny_rules":[{"override":true}]}]`,
		`[{"href":"p","namespace":null,"managed":false,"labels":[{"key":"env","restriction":[]},{"key":"app","assignment":{"href":"l","value":"v"}}]}]`,
		`[{"href":"k","kind":"Deployment","metadata":{"annotations":{"com.illumio.app":"web"}}}]`,
		`[{"href":"v","labels":[{"href":"l","key":"app"}],"service_ports":[{"proto":6,"port":80}],"service_addresses":[{"ip":"10.0.0.1","port":80,"network":{"href":"n"}},{"fqdn":"x"}],"ip_overrides":["10.0.0.2"]}]`,
		`[{"href":"b","virtual_service":{"href":"v"},"workload":{"href":"w"},"port_overrides":[{"port":80,"new_port":8080}]}]`,
		`[{"href":"w","hostname":"db","managed":true,"ven":{"href":"e"},"machine_id":"m","interfaces":[{"name":"eth0","address":"10.0.0.1"}],"labels":[{"href":"l"}]}]`,
		`[{"href":"g","key":"env","labels":[{"href":"l"}],"sub_groups":[{"href":"h"}]}]`,
		`{"cursor":"7","policy_version":3}`, `[null]`, `[1]`, `{"status":"done"}`, `[{"token":"t","message":"m"}]`, `<html>`, `[{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &answer{status: 200, header: http.Header{}, body: body}
		decodesAgain[Label](t, a)
		decodesAgain[LabelDimension](t, a)
		decodesAgain[IPList](t, a)
		decodesAgain[Service](t, a)
		decodesAgain[RuleSet](t, a)
		decodesAgain[ContainerCluster](t, a)
		decodesAgain[ContainerWorkloadProfile](t, a)
		decodesAgain[KubernetesWorkload](t, a)
		decodesAgain[PairingProfile](t, a)
		decodesAgain[LabelGroup](t, a)
		decodesAgain[EnforcementBoundary](t, a)
		decodesAgain[VirtualService](t, a)
		decodesAgain[ServiceBinding](t, a)
		decodesAgain[Workload](t, a)
		decodesAgain[PolicyVersion](t, a)
		decodesAgain[BulkResult](t, a)
		for _, out := range []any{&Changes{}, &ChangeSubset{}, &job{}, &ClusterDetails{}, &Namespaces{}} {
			if err := a.decode("GET", "/x", out); err != nil && KindOf(err) == "" {
				t.Fatalf("error without a kind: %v", err)
			}
		}
		_ = (&Client{}).refusal("GET", "/x", a).Error()
	})
}

func decodesAgain[T any](t *testing.T, a *answer) {
	items, err := decodeList[T]("/x", a)
	if err != nil {
		if KindOf(err) == "" {
			t.Fatalf("error without a kind: %v", err)
		}
		return
	}
	encoded, err := json.Marshal(items)
	if err != nil {
		t.Fatalf("encode %T: %v", items, err)
	}
	if _, err := decodeList[T]("/x", &answer{status: 200, header: http.Header{}, body: encoded}); err != nil {
		t.Fatalf("decode %s again: %v", encoded, err)
	}
}
