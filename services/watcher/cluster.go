package watcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/rs/zerolog"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// ownerIndex finds the pods that a controller owns directly, by its uid; serviceIndex the slices of a Service.
const (
	ownerIndex   = "owner"
	serviceIndex = "service"
)

// factories make informers: of every object, and of those EndpointSlices that Kubernetes does not derive from a selector.
// The others are many, change with every pod, and say nothing that selector and pods do not.
type factories struct {
	all, ownSlices informers.SharedInformerFactory
}

const ownSlices = discoveryv1.LabelManagedBy + "!=endpointslice-controller.k8s.io"

func newFactories(client kubernetes.Interface, observer kubefact.Observer) factories {
	trim := informers.WithTransform(observer.Trim)
	return factories{
		all: informers.NewSharedInformerFactoryWithOptions(client, 0, trim),
		ownSlices: informers.NewSharedInformerFactoryWithOptions(client, 0, trim,
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = ownSlices })),
	}
}

// kinds are what is watched, in the order in which a new log receives them: what others refer to comes first. LabelMaps come
// before all of them.
var kinds = []struct {
	kind     string
	informer func(factories) cache.SharedIndexInformer
}{
	{kubefact.KindNamespace, func(f factories) cache.SharedIndexInformer {
		return f.all.Core().V1().Namespaces().Informer()
	}},
	{kubefact.KindNode, func(f factories) cache.SharedIndexInformer {
		return f.all.Core().V1().Nodes().Informer()
	}},
	{kubefact.KindDeployment, func(f factories) cache.SharedIndexInformer {
		return f.all.Apps().V1().Deployments().Informer()
	}},
	{kubefact.KindStatefulSet, func(f factories) cache.SharedIndexInformer {
		return f.all.Apps().V1().StatefulSets().Informer()
	}},
	{kubefact.KindDaemonSet, func(f factories) cache.SharedIndexInformer {
		return f.all.Apps().V1().DaemonSets().Informer()
	}},
	{kubefact.KindCronJob, func(f factories) cache.SharedIndexInformer {
		return f.all.Batch().V1().CronJobs().Informer()
	}},
	{kubefact.KindReplicaSet, func(f factories) cache.SharedIndexInformer {
		return f.all.Apps().V1().ReplicaSets().Informer()
	}},
	{kubefact.KindReplicationController, func(f factories) cache.SharedIndexInformer {
		return f.all.Core().V1().ReplicationControllers().Informer()
	}},
	{kubefact.KindJob, func(f factories) cache.SharedIndexInformer {
		return f.all.Batch().V1().Jobs().Informer()
	}},
	{kubefact.KindService, func(f factories) cache.SharedIndexInformer {
		return f.all.Core().V1().Services().Informer()
	}},
	{kubefact.KindEndpointSlice, func(f factories) cache.SharedIndexInformer {
		return f.ownSlices.Discovery().V1().EndpointSlices().Informer()
	}},
	{kubefact.KindPod, func(f factories) cache.SharedIndexInformer {
		return f.all.Core().V1().Pods().Informer()
	}},
}

// watches says whether objects of a kind are facts of this version.
func watches(kind string) bool {
	for _, k := range kinds {
		if k.kind == kind {
			return true
		}
	}
	return kind == kubefact.KindLabelMap
}

// cluster is what is known of the cluster now: a trimmed copy of every watched object, kept by client-go's informers.
// Every object that changes is marked.
type cluster struct {
	factories
	// observer is of the annotations that the copies have kept.
	observer  kubefact.Observer
	stores    map[string]cache.SharedIndexInformer
	labelMaps *labelMaps
	following sync.WaitGroup // of LabelMaps
	dirty     *dirtySet
	log       zerolog.Logger
}

func newCluster(client kubernetes.Interface, resources dynamic.Interface, observer kubefact.Observer, dirty *dirtySet, interval time.Duration, log zerolog.Logger) (*cluster, error) {
	c := &cluster{
		factories: newFactories(client, observer),
		observer:  observer,
		stores:    map[string]cache.SharedIndexInformer{},
		labelMaps: newLabelMaps(client.Discovery(), resources, observer, dirty, interval, log),
		dirty:     dirty,
		log:       log,
	}
	for _, k := range kinds {
		informer := k.informer(c.factories)
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
	if err := c.stores[kubefact.KindPod].AddIndexers(cache.Indexers{ownerIndex: ownerUID}); err != nil {
		return nil, fmt.Errorf("index pods by owner: %w", err)
	}
	if err := c.stores[kubefact.KindEndpointSlice].AddIndexers(cache.Indexers{serviceIndex: serviceName}); err != nil {
		return nil, fmt.Errorf("index slices by Service: %w", err)
	}
	return c, nil
}

func serviceName(object any) ([]string, error) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	return []string{kubefact.ServiceOf(slice).StoreKey()}, nil
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
	c.all.StartWithContext(ctx)
	c.ownSlices.StartWithContext(ctx)
	c.following.Go(func() { c.labelMaps.Run(ctx) })
	for _, k := range kinds {
		if !cache.WaitForCacheSync(ctx.Done(), c.stores[k.kind].HasSynced) {
			return fmt.Errorf("list every %s: %w", k.kind, context.Cause(ctx))
		}
	}
	select {
	case <-c.labelMaps.Settled():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("list every %s: %w", kubefact.KindLabelMap, context.Cause(ctx))
	}
}

// Wait waits until the informers have ended.
func (c *cluster) Wait() {
	c.all.Shutdown()
	c.ownSlices.Shutdown()
	c.following.Wait()
}

// changed marks an object and what reads otherwise by it: the pods of a controller that passes pods on and is new or has
// another owner, for their owner chain leads elsewhere now, and the slices of a Service.
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
			c.markAll(kubefact.KindPod, ownerIndex, string(o.GetUID()))
		}
	case kubefact.KindService:
		c.markAll(kubefact.KindEndpointSlice, serviceIndex, key.StoreKey())
	}
}

// gone marks an object. The pods of a controller are not looked at: they go after it, and keep it until then.
func (c *cluster) gone(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if o, ok := object.(metav1.Object); ok {
		key := kubefact.KeyOf(o)
		c.dirty.Mark(key)
		if key.Kind == kubefact.KindService {
			c.markAll(kubefact.KindEndpointSlice, serviceIndex, key.StoreKey())
		}
	}
}

func owner(o metav1.Object) types.UID {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return ref.UID
	}
	return ""
}

// markAll marks the objects of a kind that an index finds.
func (c *cluster) markAll(kind, index, value string) {
	found, err := c.stores[kind].GetIndexer().ByIndex(index, value)
	if err != nil { // the index exists: newCluster added it
		c.log.Error().Err(err).Str("kind", kind).Str("of", value).Msg("objects of another one cannot be found")
		return
	}
	for _, object := range found {
		c.dirty.Mark(kubefact.KeyOf(object.(metav1.Object)))
	}
}

// Get gives the object of that name as it is now.
func (c *cluster) Get(key kubefact.Key) (metav1.Object, bool) {
	if key.Kind == kubefact.KindLabelMap {
		return c.labelMaps.Get(key)
	}
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

// Observe gives the fact of an object as it is now, nil where there is none; see kubefact.Observer.
func (c *cluster) Observe(object metav1.Object, known *ringfencev1.ObjectRef) (*kubefact.Observation, error) {
	return c.observer.Observe(object, c, known)
}

// Owner makes a cluster the kubefact.Owners of its objects.
func (c *cluster) Owner(key kubefact.Key) (metav1.Object, bool) { return c.Get(key) }

// Keys names every object, in the order of kinds.
func (c *cluster) Keys() []kubefact.Key {
	keys := c.labelMaps.Keys()
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
