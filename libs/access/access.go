package access

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
)

// Services, by the names of their ServiceAccounts.
const (
	Watcher     = "watcher"
	PceBridge   = "pce-bridge"
	PolicyStore = "policy-store"
	Enforcer    = "enforcer"
	// Viewer is who people are that use the command line.
	Viewer = "viewer"
)

var (
	// ErrNoRights says that a ServiceAccount has no part in the log.
	ErrNoRights = errors.New("the ServiceAccount has no rights on the log")
	// ErrNotBound says that a token lacks the node or pod that its part must be bound to.
	ErrNotBound = errors.New("the token is not bound as its part must be")
)

// Rights are what a client may do. The subjects may hold the wildcards of NATS.
type Rights struct {
	// Account is the account that the client is in; empty is the one that holds the log.
	Account            string
	Publish, Subscribe []string
	// Answers allows one answer to every request that the client receives, on whatever subject the request names.
	Answers bool
}

// Of gives the rights of an identity.
func Of(id identity.Identity) (Rights, error) {
	switch {
	case id.Service == Enforcer && (id.Node == "" || id.Pod == ""):
		return Rights{}, fmt.Errorf("%w: an enforcer's names its node and pod (Kubernetes 1.30 or later, a projected token)", ErrNotBound)
	case id.Service == Enforcer:
		return enforcer(id.Node), nil
	case id.Service == Viewer:
		return viewer(id.Fingerprint), nil
	case id.Pod == "" && (id.Service == Watcher || id.Service == PceBridge):
		return Rights{}, fmt.Errorf("%w: that of %s names its pod (a projected token)", ErrNotBound, id.Service)
	case id.Service == Watcher:
		return watcher(), nil
	case id.Service == PceBridge:
		return bridge(), nil
	}
	return Rights{}, fmt.Errorf("%w: %q", ErrNoRights, id.Service)
}

// Host gives the rights of policy-store on the server in its own process. No token gives them.
func Host() Rights {
	return Rights{
		Publish: []string{
			"policy.>", "plan.*", "snap.>", "facts.ctl.epoch.*", eventlog.LinkSubject,
			"$JS.API.STREAM.>", "$JS.API.CONSUMER.>", "$JS.API.DIRECT.GET.>",
			"$JS.API.INFO", "$JS.SNAPSHOT.>", // for moving the log
		},
		Subscribe: append(inbox(PolicyStore), "query.>", "$SRV.>", "status.>", eventlog.AliveSubject(">")),
		Answers:   true,
	}
}

// inbox is where answers come to a client that dials under a name.
func inbox(name string) []string { return []string{eventlog.InboxPrefix(name) + ".>"} }

func watcher() Rights {
	return Rights{
		Publish: append(producer(Watcher, "facts.k8s.>"), // but for snapshots, its own facts are all that it reads
			"$JS.API.CONSUMER.CREATE.FACTS.*.facts.k8s.>",
			"$JS.API.CONSUMER.MSG.NEXT.FACTS.*",
			"$JS.API.CONSUMER.DELETE.FACTS.*",
			"$JS.API.DIRECT.GET.FACTS.facts.k8s.>",
		),
		Subscribe: inbox(Watcher),
	}
}

func bridge() Rights {
	publish := producer(PceBridge, "facts.pce.>", "facts.ctl.settings", "facts.ctl.link")
	return Rights{
		Publish:   slices.Concat(publish, []string{eventlog.AliveSubject(PceBridge)}, reads("FACTS"), reads("STATUS"), reads("FLOWS")),
		Subscribe: inbox(PceBridge),
	}
}

// producer is what everyone needs who publishes facts.
func producer(name string, subjects ...string) []string {
	epoch := "facts.ctl.epoch." + name
	return append(subjects, "facts.ctl.synced."+name, epoch, "$JS.API.DIRECT.GET.FACTS."+epoch, "$JS.API.STREAM.INFO.FACTS",
		"$JS.API.STREAM.INFO.SNAP", "$JS.API.DIRECT.GET.SNAP.snap.>") // what it wrote and was trimmed is in snapshots
}

// reads is what reading a whole stream needs. A consumer of several subjects has no filter in the subject of its request,
// so it is in the rights of those alone who may read everything.
func reads(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.DIRECT.GET." + stream + ".>",
	}
}

// enforcer needs no consumer and no list of anything: it gets single subjects, and hears the rest.
func enforcer(node string) Rights {
	token := eventlog.Token(node)
	return Rights{
		Account: Nodes,
		Publish: []string{
			"status." + token, "flows." + token,
			// POLICY holds nothing that a node may not read, so the form without a subject, for many at once, shows no more.
			"$JS.API.DIRECT.GET.POLICY", "$JS.API.DIRECT.GET.POLICY.policy.>",
			"$JS.API.DIRECT.GET.PLAN.plan." + token,
		},
		Subscribe: append(inbox(eventlog.EnforcerName(node)), "policy.window", "plan."+token),
	}
}

// viewed are the streams that people read whole.
var viewed = []string{"FACTS", "SNAP", "STATUS", "FLOWS"}

// viewer needs no consumer either, and may make none: what one delivers goes wherever its maker says.
func viewer(fingerprint string) Rights {
	publish := []string{"query.*", "$JS.API.DIRECT.GET.POLICY.policy.>"}
	for _, stream := range viewed {
		publish = append(publish, "$JS.API.STREAM.INFO."+stream, "$JS.API.DIRECT.GET."+stream, "$JS.API.DIRECT.GET."+stream+".>")
	}
	return Rights{Account: Viewers, Publish: publish, Subscribe: inbox(eventlog.ViewerName(fingerprint))}
}
