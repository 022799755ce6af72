package console

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// onlineFor is how long after its last call a cluster counts as online.
const onlineFor = 5 * time.Minute

// agents is what the console knows of clusters without keeping it: when they called last.
type agents struct {
	mu   sync.Mutex
	seen map[string]time.Time
	now  func() time.Time
}

func newAgents() *agents { return &agents{seen: map[string]time.Time{}, now: time.Now} }

// lastSeen is when a cluster called last, the zero time where it did not since the console's start.
func (a *agents) lastSeen(cluster string) time.Time {
	if a == nil {
		return time.Time{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[cluster]
}

// online tells whether a cluster called lately.
func (a *agents) online(cluster string) bool {
	at := a.lastSeen(cluster)
	return !at.IsZero() && a.now().Sub(at) < onlineFor
}

func (a *agents) called(cluster string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[cluster] = a.now()
}

// decorate adds the liveness of a cluster to its rendering.
func (a *agents) decorate(out rendered, cluster string) {
	out["last_connected"], out["online"] = stamp(a.lastSeen(cluster)), a.online(cluster)
}

// secretOf makes a random secret of 256 bits.
func secretOf() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// clusterFields are what people may write on a cluster; the rest is the cluster's own to report.
var clusterFields = []string{"name", "description"}

func (c *Console) createCluster(r request) (response, error) {
	doc, err := r.document()
	if err != nil {
		return response{}, err
	}
	var made onboarding
	err = c.store.write(r.Context(), r.who.href, "container_cluster.create", func(t *transaction) error {
		made, err = t.onboard(doc)
		return err
	})
	if err != nil {
		return response{}, err
	}
	answer, err := c.created(place{kind: clusters, table: tableClusters}, made.cluster)
	if out, ok := answer.body.(rendered); ok {
		out["container_cluster_token"] = made.token
	}
	return answer, err
}

// onboarding is what a new cluster needs to know.
type onboarding struct{ cluster, token string }

// onboard makes a cluster with its token and its default profile.
func (t *transaction) onboard(doc document) (onboarding, error) {
	for field := range doc {
		if !slices.Contains(clusterFields, field) {
			return onboarding{}, invalid(field, "cannot be set on a container cluster; name and description can")
		}
	}
	made := onboarding{cluster: newUUID(), token: "1_" + secretOf()}
	doc, err := checkCluster(&validation{state: t.state, table: tableClusters}, made.cluster, doc, nil)
	if err != nil {
		return onboarding{}, err
	}
	doc = doc.set("cluster_mode", "legacy").set("clas_mode", false).set(hashField, hashOf(made.token))
	t.create(tableClusters, made.cluster, "", doc)
	t.create(tableProfiles, newUUID(), made.cluster, withProfileDefaults(document{}).set("name", "Default Profile"))
	return made, nil
}

func (c *Console) updateCluster(r request) (response, error) {
	change, err := r.document()
	if err != nil {
		return response{}, err
	}
	for field := range change {
		if !slices.Contains(clusterFields, field) {
			return response{}, invalid(field, "cannot be set on a container cluster; name and description can")
		}
	}
	at := place{kind: clusters, table: tableClusters}
	err = c.store.write(r.Context(), r.who.href, "container_cluster.update", func(t *transaction) error {
		return at.change(t, r.PathValue("cluster"), change)
	})
	return noContent, err
}

// inCluster lets the generic handlers find a cluster's id under the name that access is decided by.
func inCluster(handle handler) handler {
	return func(r request) (response, error) {
		r.SetPathValue("id", r.PathValue("cluster"))
		return handle(r)
	}
}

// decorateProfile adds whether the cluster has the namespace of the profile.
func (s *state) decorateProfile(out rendered, r *record) {
	out["linked"] = s.linked(r)
	out["assign_labels"] = assigned(r.Doc)
}

// linked tells whether a profile's cluster has its namespace.
func (s *state) linked(profile *record) bool {
	namespace, cluster := profile.Doc.text("namespace"), s.get(tableClusters, profile.Owner)
	if namespace == "" || cluster == nil {
		return false
	}
	var reported pce.Namespaces
	return decodeInto(normal(cluster.Doc[namespacesField]), &reported.Namespaces) == nil && slices.Contains(reported.Namespaces, namespace)
}

func assigned(doc document) []pce.Ref {
	var p pce.ContainerWorkloadProfile
	refs := []pce.Ref{}
	if doc.into(&p) != nil {
		return refs
	}
	for _, l := range p.Labels {
		if l.Assignment != nil {
			refs = append(refs, pce.Ref{Href: l.Assignment.Href})
		}
	}
	return refs
}
