package watcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// labelMaps is what is known of LabelMaps, a custom resource: the API server may not serve it, and begin or cease to while
// this runs. A kind that is not served has no objects. While the API server does not say, the last objects stay.
type labelMaps struct {
	discovery discovery.DiscoveryInterfaceWithContext
	client    dynamic.Interface
	observer  kubefact.Observer
	dirty     *dirtySet
	log       zerolog.Logger
	// interval is the first time between two looks for the kind, which grows to twelve of them.
	interval time.Duration

	mu    sync.Mutex
	store cache.Store // nil while the kind is not served
	// settled is closed once it is known whether the kind is served and, if so, what there is.
	settled chan struct{}
	said    string
}

func newLabelMaps(d discovery.DiscoveryInterfaceWithContext, client dynamic.Interface, observer kubefact.Observer, dirty *dirtySet, interval time.Duration, log zerolog.Logger) *labelMaps {
	return &labelMaps{discovery: d, client: client, observer: observer, dirty: dirty, interval: interval, log: log, settled: make(chan struct{})}
}

// Run looks for the kind and follows its objects until ctx ends.
func (l *labelMaps) Run(ctx context.Context) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = l.interval, 12*l.interval
	for ctx.Err() == nil {
		served, err := l.served(ctx)
		switch {
		case err != nil:
			l.say(zerolog.WarnLevel, fmt.Sprintf("whether the API server serves LabelMaps is not known: %v", err))
		case served:
			l.say(zerolog.InfoLevel, "the API server serves LabelMaps")
			l.follow(ctx)
			wait.Reset()
		default:
			l.say(zerolog.InfoLevel, "the API server does not serve LabelMaps: labels come from profiles and annotations alone")
			l.take(nil)
		}
		timer := time.NewTimer(wait.NextBackOff())
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// say logs what is news.
func (l *labelMaps) say(level zerolog.Level, text string) {
	if l.said != text {
		l.said = text
		l.log.WithLevel(level).Msg(text)
	}
}

func (l *labelMaps) served(ctx context.Context) (bool, error) {
	gv := kubefact.LabelMapResource.GroupVersion().String()
	list, err := l.discovery.ServerResourcesForGroupVersionWithContext(ctx, gv)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	for _, r := range list.APIResources {
		if r.Name == kubefact.LabelMapResource.Resource {
			return true, nil
		}
	}
	return false, nil
}

// follow watches until ctx ends or the API server no longer knows the kind.
func (l *labelMaps) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := dynamicinformer.NewFilteredDynamicInformer(l.client, kubefact.LabelMapResource, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	err := informer.SetTransform(l.observer.Trim)
	if err == nil {
		err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			l.log.Warn().Err(err).Str("kind", kubefact.KindLabelMap).Msg("watch of the API server broke; it is taken up again")
			if apierrors.IsNotFound(err) {
				cancel()
			}
		})
	}
	if err == nil {
		_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: l.changed, UpdateFunc: func(_, object any) { l.changed(object) }, DeleteFunc: l.changed,
		})
	}
	if err != nil { // the informer has not been started, so all of this is possible
		l.log.Error().Err(err).Msg("LabelMaps cannot be watched")
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); informer.RunWithContext(ctx) }()
	if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		l.take(informer.GetStore())
	}
	<-done
}

// take makes a store the one that counts; its objects and those of the one before may differ.
func (l *labelMaps) take(store cache.Store) {
	before := l.Keys()
	l.mu.Lock()
	l.store = store
	select {
	case <-l.settled:
	default:
		close(l.settled)
	}
	l.mu.Unlock()
	l.dirty.Mark(append(before, l.Keys()...)...)
}

func (l *labelMaps) changed(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if o, ok := object.(metav1.Object); ok {
		l.dirty.Mark(kubefact.KeyOf(o))
	}
}

// Settled is closed once what there is is known.
func (l *labelMaps) Settled() <-chan struct{} { return l.settled }

// Get gives the object of that name as it is now.
func (l *labelMaps) Get(key kubefact.Key) (metav1.Object, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		return nil, false
	}
	object, found, err := l.store.GetByKey(key.StoreKey())
	if err != nil || !found {
		return nil, false
	}
	o, ok := object.(metav1.Object)
	return o, ok
}

// Keys names every object.
func (l *labelMaps) Keys() []kubefact.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		return nil
	}
	var keys []kubefact.Key
	for _, object := range l.store.List() {
		if o, ok := object.(metav1.Object); ok {
			keys = append(keys, kubefact.KeyOf(o))
		}
	}
	return keys
}
