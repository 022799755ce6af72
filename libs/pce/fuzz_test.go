package pce

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// oneAnswer is a console that answers every request with one body, without a network.
type oneAnswer struct{ body []byte }

func (a *oneAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}, nil
}

// fuzzCall gives what a console may answer to a call of the client: whatever it holds, the call gives an error that names the call and,
// where the JSON is whole, the object or the field at fault; or a value that is the same when it is encoded and decoded again. It never
// panics.
func fuzzCall[T any](f *testing.F, call func(context.Context, *Client) (T, error), seeds ...string) {
	f.Helper()
	for _, seed := range append(seeds, `[null]`, `[1]`, `null`, `{}`, `[]`, `[{"token":"t","message":"m"}]`, `<html>`, `[{`, ``) {
		f.Add([]byte(seed))
	}
	answer := &oneAnswer{}
	c, err := New(Config{URL: "pce.example:8443", OrgID: 1, User: "u", Secret: "s"})
	if err != nil {
		f.Fatal(err)
	}
	c.http.HTTPClient.Transport = answer
	f.Fuzz(func(t *testing.T, body []byte) {
		answer.body = body
		first, err := call(t.Context(), c)
		if err != nil {
			explains(t, err)
			return
		}
		encoded, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("encode %+v: %v", first, err)
		}
		answer.body = encoded
		second, err := call(t.Context(), c)
		if err != nil {
			t.Fatalf("decode %s again: %v", encoded, err)
		}
		if again, err := json.Marshal(second); err != nil || !bytes.Equal(again, encoded) {
			t.Fatalf("%s\nbecame\n%s (%v)", encoded, again, err)
		}
	})
}

// explains asserts that an error says what failed.
func explains(t *testing.T, err error) {
	t.Helper()
	var e *Error
	switch {
	case !errors.As(err, &e) || e.Kind == "":
		t.Fatalf("error without a kind: %v", err)
	case e.Method == "" || e.Path == "" || !strings.HasPrefix(err.Error(), e.Method+" "+e.Path+": "):
		t.Fatalf("error that does not name the call: %v", err)
	case e.Kind == Malformed && e.Object == "" && !strings.Contains(e.Detail, "field "):
		t.Fatalf("error that names neither object nor field: %v", err)
	}
}

func FuzzLabels(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]Label, error) { return c.Labels(ctx) },
		`[{"href":"/orgs/1/labels/1","key":"app","value":"web","created_at":"2026-01-02T03:04:05Z","created_by":{"href":"/users/1"},"external_data_set":null,"deleted":false}]`,
		`[{"href":"/orgs/1/labels/2","key":7,"value":"web"}]`, `[{"href":"/orgs/1/labels/3","created_by":"x"}]`)
}

func FuzzLabelDimensions(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]LabelDimension, error) { return c.LabelDimensions(ctx) },
		`[{"href":"/orgs/1/label_dimensions/d","key":"bu","display_name":"Business unit","display_info":{"icon":"x","initial":"B","background_color":"#fff","foreground_color":"#000","display_name_plural":"units"}}]`)
}

func FuzzLabelGroups(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]LabelGroup, error) { return c.LabelGroups(ctx, Active) },
		`[{"href":"g","name":"production","key":"env","labels":[{"href":"l","key":"env","value":"prod"}],"sub_groups":[{"href":"h","name":"other"}],"update_type":null}]`)
}

func FuzzIPLists(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]IPList, error) { return c.IPLists(ctx, Active) },
		`[{"href":"/orgs/1/sec_policy/active/ip_lists/1","name":"Any (0.0.0.0/0 and ::/0)","ip_ranges":[{"from_ip":"0.0.0.0/0"},{"from_ip":"::/0"}],"fqdns":[]}]`,
		`[{"name":"x","ip_ranges":[{"from_ip":"10.0.0.1","to_ip":"10.0.0.9","exclusion":true,"description":"d"}],"fqdns":[{"fqdn":"*.example.com"}]}]`,
		`[{"href":"i","ip_ranges":[{"from_ip":7}]}]`, `[{"href":"i","ip_ranges":{}}]`)
}

func FuzzServices(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]Service, error) { return c.Services(ctx, Active) },
		`[{"href":"s","name":"All Services","service_ports":[{"proto":-1}]}]`,
		`[{"href":"s","name":"https","service_ports":[{"port":443,"proto":6},{"port":1,"to_port":2,"proto":17},{"proto":1,"icmp_type":8,"icmp_code":0}],"windows_services":[{"service_name":"x"}],"process_name":"p"}]`)
}

const ruleSeed = `{"href":"/orgs/1/sec_policy/draft/rule_sets/1/sec_rules/1","enabled":true,"description":"","update_type":"create",` +
	`"consumers":[{"label":{"href":"l"}},{"label_group":{"href":"g"},"exclusion":true},{"ip_list":{"href":"i"}},{"workload":{"href":"w"}},{"virtual_service":{"href":"v"}},{"actors":"ams"},{"user_group":{"href":"u"}}],` +
	`"providers":[{"actors":"ams"}],"ingress_services":[{"href":"s"},{"port":80,"to_port":90,"proto":6}],"resolve_labels_as":{"providers":["workloads"],"consumers":["workloads","virtual_services"]},` +
	`"sec_connect":false,"stateless":false,"machine_auth":false,"unscoped_consumers":true,"network_type":"brn","consuming_security_principals":[{"href":"p"}],"external_data_set":null,"external_data_reference":null}`

func FuzzRuleSets(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]RuleSet, error) { return c.RuleSets(ctx, Active) },
		`[{"href":"r","name":"shop","enabled":true,"scopes":[[{"label":{"href":"l"}},{"label_group":{"href":"g"}}],[]],"rules":[`+ruleSeed+`],"deny_rules":[{"override":true}],"ip_tables_rules":[]}]`,
		`[{"href":"r","scopes":[[]]}]`, `[{"href":"r","scopes":[{}]}]`, `[{"href":"r","rules":[{"consumers":[7]}]}]`)
}

func FuzzRuleSet(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (RuleSet, error) {
		return c.RuleSet(ctx, "/orgs/1/sec_policy/draft/rule_sets/1")
	},
		`{"href":"r","name":"shop","scopes":[[]],"rules":[`+ruleSeed+`]}`)
}

func FuzzRule(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (Rule, error) {
		return c.CreateRule(ctx, "/orgs/1/sec_policy/draft/rule_sets/1", Rule{})
	}, ruleSeed)
}

func FuzzEnforcementBoundaries(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]EnforcementBoundary, error) {
		return c.EnforcementBoundaries(ctx, Active)
	},
		`[{"href":"b","name":"rdp","enabled":true,"consumers":[{"actors":"ams"}],"providers":[{"ip_list":{"href":"i"}}],"ingress_services":[{"proto":6,"port":3389}],"network_type":"brn"}]`)
}

func FuzzVirtualServices(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]VirtualService, error) { return c.VirtualServices(ctx, Active) },
		`[{"href":"v","name":"web","labels":[{"href":"l","key":"app"}],"service":{"href":"s"},"apply_to":"host_only","service_addresses":[{"ip":"10.0.0.1","port":80,"network":{"href":"n","name":"x"}},{"fqdn":"x"}],"ip_overrides":["10.0.0.2"],`+
			`"external_data_set":"c|shop","external_data_reference":"uid","k8s_service_info":{"service_type":"NodePort","external_traffic_policy":"Local","node_ports":[30080]},"caps":[]}]`)
}

func FuzzServiceBindings(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]ServiceBinding, error) { return c.ServiceBindings(ctx) },
		`[{"href":"b","virtual_service":{"href":"v"},"workload":{"href":"w","name":"n"},"port_overrides":[{"port":80,"proto":6,"new_port":8080,"new_to_port":8090}]}]`)
}

func FuzzWorkloads(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]Workload, error) { return c.Workloads(ctx) },
		`[{"href":"w","name":null,"hostname":"db","managed":true,"ven":{"href":"e"},"machine_id":"m","interfaces":[{"name":"eth0","address":"10.0.0.1","cidr_block":24,"link_state":"up"}],"labels":[{"href":"l","key":"app","value":"x"}],`+
			`"enforcement_mode":"full","agent":{"status":{"agent_health":[]}},"public_ip":null,"deleted":false}]`)
}

func FuzzPairingProfiles(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]PairingProfile, error) { return c.PairingProfiles(ctx) },
		`[{"href":"p","name":"nodes","enabled":true,"is_default":false,"enforcement_mode":"visibility_only","visibility_level":"flow_summary","labels":[{"href":"l"}],"key_lifespan":"unlimited","allowed_uses_per_key":1,"role_label_lock":true}]`)
}

func FuzzPairingKey(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (map[string]string, error) {
		code, err := c.CreatePairingKey(ctx, "/orgs/1/pairing_profiles/1")
		return map[string]string{"activation_code": code}, err
	}, `{"activation_code":"abcdef"}`)
}

func FuzzContainerClusters(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]ContainerCluster, error) { return c.ContainerClusters(ctx) },
		`[{"href":"/orgs/1/container_clusters/c","pce_fqdn":null,"name":"lab","description":"","manager_type":"Kubernetes v1.29.4","network_type":null,"last_connected":null,"kubelink_version":"5.5.1-5","clas_mode":true,"cluster_mode":"clas","online":true,`+
			`"nodes":[{"name":"node1","pod_subnet":"10.42.0.0/24"}],"container_runtime":"containerd","errors":[{"error_type":"x","duplicate_ids":[],"audit_event":{"href":"e"}}],"caps":["write"]}]`)
}

func FuzzContainerCluster(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (ContainerCluster, error) {
		return c.CreateContainerCluster(ctx, ContainerCluster{})
	},
		`{"href":"/orgs/1/container_clusters/c","name":"lab","container_cluster_token":"1_ab","nodes":[]}`)
}

func FuzzContainerWorkloadProfiles(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]ContainerWorkloadProfile, error) {
		return c.Profiles(ctx, "/orgs/1/container_clusters/c")
	},
		`[{"href":"p","name":"Default Profile","namespace":null,"managed":false,"linked":false,"labels":[],"assign_labels":[]}]`,
		`[{"href":"p","namespace":"shop","managed":true,"enforcement_mode":"full","visibility_level":"flow_summary","labels":[{"key":"env","restriction":[]},{"key":"app","assignment":{"href":"l","value":"v"}},{"key":"loc","restriction":[{"href":"m","value":"w"}]}],"linked":true}]`)
}

func FuzzKubernetesWorkloads(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]KubernetesWorkload, error) { return c.KubernetesWorkloads(ctx) },
		`[{"href":"/orgs/1/kubernetes_workloads/k","name":"frontend","kind":"Deployment","namespace":"shop","labels":[{"href":"l","key":"app","value":"web"}],"enforcement_mode":"visibility_only","visibility_level":"flow_summary",`+
			`"security_policy_sync_state":"applied","container_cluster":{"href":"c","name":"lab"},"metadata":{"uid":"u","labels":{"a":"b"},"annotations":{"com.illumio.app":"web"}}}]`,
		`[{"href":"k","metadata":{"labels":[]}}]`, `[{"href":"k","metadata":null}]`)
}

func FuzzPending(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (ChangeSubset, error) { return c.Pending(ctx) },
		`{"rule_sets":[{"href":"r","name":"x"}],"ip_lists":[{"href":"i"}],"services":[]}`, `{"rule_sets":{}}`)
}

func FuzzPolicyVersion(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (PolicyVersion, error) { return c.Provision(ctx, Provisioning{}) },
		`{"href":"/orgs/1/sec_policy/7","version":7,"workloads_affected":3,"commit_message":"m","object_counts":{"rule_sets":1},"created_at":"x","created_by":{"href":"/users/1"}}`, `{"version":1e99}`, `{"version":"7"}`)
}

func FuzzProductVersion(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (map[string]string, error) {
		v, err := c.ProductVersion(ctx)
		return map[string]string{"long_display": v}, err
	}, `{"version":"25.2.10","build":1,"long_display":"25.2.10-1","short_display":"25.2.10"}`)
}

func FuzzBulkResults(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]BulkResult, error) {
		return c.Agent("c").DeleteWorkloads(ctx, nil)
	},
		`[{"href":"w","status":"created"},{"status":"validation_failure","token":"input_validation_error","message":"m","errors":[]}]`)
}

func FuzzChanges(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (Changes, error) { return c.Agent("c").WaitForChanges(ctx, "", 0) },
		`{"cursor":"7","policy_version":3}`, `{"cursor":7}`)
}

func FuzzFlowReceipt(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) (FlowReceipt, error) {
		return c.Agent("c").ReportFlows(ctx, FlowUpload{})
	},
		`{"num_flows_received":10,"num_flows_failed":1,"failed_flows":[{"x":1}]}`)
}

// FuzzJob gives what a console may answer while a long list is made: the whole list, or an error; never a wait without end.
func FuzzJob(f *testing.F) {
	f.Add([]byte(`{"href":"/orgs/1/jobs/j","job_type":"collection","status":"done","result":{"href":"/orgs/1/datafiles/d"},"requested_at":"x","requested_by":{"href":"/users/1"}}`))
	f.Add([]byte(`{"status":"failed"}`))
	f.Add([]byte(`{"status":"done","result":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var j job
		a := &answer{status: 200, header: http.Header{}, body: body}
		if err := a.decode(http.MethodGet, "/orgs/1/jobs/j", &j); err != nil {
			explains(t, err)
		}
	})
}

// FuzzRefusal gives what a console, or a proxy before it, may answer with another status than success.
func FuzzRefusal(f *testing.F) {
	f.Add(406, []byte(`[{"token":"input_validation_error","message":"name: must not be empty"}]`))
	f.Add(401, []byte(`[]`))
	f.Add(502, []byte(`<html>`))
	f.Add(404, []byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := (&Client{}).refusal(http.MethodGet, "/orgs/1/labels", &answer{status: status, header: http.Header{}, body: body})
		explains(t, err)
		if strings.TrimSpace(strings.TrimPrefix(err.Error(), "GET /orgs/1/labels:")) == "" {
			t.Fatal("it says nothing")
		}
	})
}

func FuzzDocuments(f *testing.F) {
	fuzzCall(f, func(ctx context.Context, c *Client) ([]Document, error) {
		return c.Documents(ctx, c.Org()+"/workloads")
	},
		`[{"href":"w","name":null,"n":1e99,"x":{"y":[1,"<"]}}]`)
}
