package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// ownerIndex finds the pods that a controller owns directly, by its uid.
const ownerIndex = "owner"

// kinds are what is watched, in the order in which a new log receives them: what others refer to comes first.
var kinds = []struct {
	kind     string
	informer func(informers.SharedInformerFactory) cache.SharedIndexInformer
}{
	{kubefact.KindNamespace, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Namespaces().Informer()
	}},
	{kubefact.KindNode, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Nodes().Informer()
	}},
	{kubefact.KindDeployment, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Apps().V1().Deployments().Informer()
	}},
	{kubefact.KindStatefulSet, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Apps().V1().StatefulSets().Informer()
	}},
	{kubefact.KindDaemonSet, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Apps().V1().DaemonSets().Informer()
	}},
	{kubefact.KindCronJob, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Batch().V1().CronJobs().Informer()
	}},
	{kubefact.KindReplicaSet, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Apps().V1().ReplicaSets().Informer()
	}},
	{kubefact.KindReplicationController, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().ReplicationControllers().Informer()
	}},
	{kubefact.KindJob, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Batch().V1().Jobs().Informer()
	}},
	{kubefact.KindService, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Services().Informer()
	}},
	{kubefact.KindPod, func(f informers.SharedInformerFactory) cache.SharedIndexInformer {
		return f.Core().V1().Pods().Informer()
	}},
}

// cluster is what is known of the cluster now: a trimmed copy of every watched object, kept by client-go's informers.
// Every object that changes is marked.
type cluster struct {
	factory informers.SharedInformerFactory
	stores  map[string]cache.SharedIndexInformer
	dirty   *dirtySet
	log     zerolog.Logger
}

func newCluster(client kubernetes.Interface, dirty *dirtySet, log zerolog.Logger) (*cluster, error) {
	c := &cluster{
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(kubefact.Trim)),
		stores:  map[string]cache.SharedIndexInformer{},
		dirty:   dirty,
		log:     log,
	}
	for _, k := range kinds {
		informer := k.informer(c.factory)
		c.stores[k.kind] = informer
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { c.changed(nil, object) },
			UpdateFunc: func(before, object any) { c.changed(before, object) },
			DeleteFunc: c.gone,
		})
		if err == nil {
			err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
				c.log.Warn().Err(err).Str("kind", k.kind).Msg("watch of the API server broke; it is taken up again")
			})
		}
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", k.kind, err)
		}
	}
	err := c.stores[kubefact.KindPod].AddIndexers(cache.Indexers{ownerIndex: ownerUID})
	if err != nil {
		return nil, fmt.Errorf("index pods by owner: %w", err)
	}
	return c, nil
}

func ownerUID(object any) ([]string, error) {
	pod, ok := object.(metav1.Object)
	if !ok {
		return nil, nil
	}
	if uid := owner(pod); uid != "" {
		return []string{string(uid)}, nil
	}
	return nil, nil
}

// Start begins to watch, and waits until every kind was listed once or ctx ends. The informers end with ctx; Wait for them.
func (c *cluster) Start(ctx context.Context) error {
	c.factory.StartWithContext(ctx)
	for _, k := range kinds {
		if !cache.WaitForCacheSync(ctx.Done(), c.stores[k.kind].HasSynced) {
			return fmt.Errorf("list every %s: %w", k.kind, context.Cause(ctx))
		}
	}
	return nil
}

// Wait waits until the informers have ended.
func (c *cluster) Wait() { c.factory.Shutdown() }

// changed marks an object and, where it is a controller that passes pods on and is new or has another owner, its pods:
// their owner chain leads elsewhere now.
func (c *cluster) changed(before, object any) {
	o, ok := object.(metav1.Object)
	if !ok {
		return
	}
	key := kubefact.KeyOf(o)
	c.dirty.Mark(key)
	switch key.Kind {
	case kubefact.KindReplicaSet, kubefact.KindJob, kubefact.KindReplicationController:
		if b, ok := before.(metav1.Object); !ok || owner(b) != owner(o) || b.GetUID() != o.GetUID() {
			c.markPodsOf(o)
		}
	}
}

// gone marks an object. The pods of a controller are not looked at: they go after it, and keep it until then.
func (c *cluster) gone(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if o, ok := object.(metav1.Object); ok {
		c.dirty.Mark(kubefact.KeyOf(o))
	}
}

func owner(o metav1.Object) types.UID {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return ref.UID
	}
	return ""
}

func (c *cluster) markPodsOf(owner metav1.Object) {
	pods, err := c.stores[kubefact.KindPod].GetIndexer().ByIndex(ownerIndex, string(owner.GetUID()))
	if err != nil { // the index exists: newCluster added it
		c.log.Error().Err(err).Stringer("object", kubefact.KeyOf(owner)).Msg("pods of a controller cannot be found")
		return
	}
	for _, pod := range pods {
		c.dirty.Mark(kubefact.KeyOf(pod.(metav1.Object)))
	}
}

// Get gives the object of that name as it is now.
func (c *cluster) Get(key kubefact.Key) (metav1.Object, bool) {
	store, ok := c.stores[key.Kind]
	if !ok {
		return nil, false
	}
	object, found, err := store.GetStore().GetByKey(key.StoreKey())
	if err != nil || !found {
		return nil, false
	}
	o, ok := object.(metav1.Object)
	return o, ok
}

// Owner makes a cluster the kubefact.Owners of its pods.
func (c *cluster) Owner(key kubefact.Key) (metav1.Object, bool) { return c.Get(key) }

// Keys names every object, in the order of kinds.
func (c *cluster) Keys() []kubefact.Key {
	var keys []kubefact.Key
	for _, k := range kinds {
		for _, object := range c.stores[k.kind].GetStore().List() {
			if o, ok := object.(metav1.Object); ok {
				keys = append(keys, kubefact.KeyOf(o))
			}
		}
	}
	return keys
}

var errNoAnswer = errors.New("the API server does not answer")

// probe reports whether the API server answers, at every interval, until ctx ends. Watches alone would not tell: an idle
// one looks like one that waits for a server that is gone.
func probe(ctx context.Context, client kubernetes.Interface, interval time.Duration, report func(error)) {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		report(answers(ctx, client, interval))
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func answers(ctx context.Context, client kubernetes.Interface, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := client.Discovery().ServerVersionWithContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return nil
}
