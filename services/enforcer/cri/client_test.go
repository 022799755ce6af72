package cri_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/services/enforcer/cri"
	"github.com/ringfence/ringfence/services/enforcer/internal/critest"
)

func connect(t testing.TB, s *critest.Server) *cri.Client {
	t.Helper()
	c, err := cri.Connect(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestListGivesNetworkNamespaces(t *testing.T) {
	s := critest.Start(t)
	c := connect(t, s)
	s.Run(critest.Pod{ID: "s1", UID: "u1", Namespace: "shop", Name: "web", Netns: "/run/netns/cni-1", PID: 42})
	s.Run(critest.Pod{ID: "s2", UID: "u2", Namespace: "kube-system", Name: "proxy"})
	for range 2 {
		l, err := c.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []cri.Sandbox{
			{ID: "s1", UID: "u1", Namespace: "shop", Name: "web", NetnsPaths: []string{"/run/netns/cni-1", "/proc/42/ns/net"},
				CreatedAt: time.Unix(0, 1)},
			{ID: "s2", UID: "u2", Namespace: "kube-system", Name: "proxy", HostNetwork: true, CreatedAt: time.Unix(0, 2)},
		}
		if diff := cmp.Diff(want, l); diff != "" {
			t.Error(diff)
		}
	}
	if lists, statuses := s.Calls(); lists != 2 || statuses != 2 {
		t.Errorf("%d listings asked %d times for details, expected 2 and 2", lists, statuses)
	}
}

func TestOneUnclearSandboxHidesNoOther(t *testing.T) {
	s := critest.Start(t)
	c := connect(t, s)
	s.Run(critest.Pod{ID: "s1", UID: "u1", Namespace: "shop", Name: "web", Info: `{"runtimeSpec":`})
	s.Run(critest.Pod{ID: "s2", UID: "u2", Namespace: "shop", Name: "api", PID: 7})
	l, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(l) != 2 || l[0].Err == nil || l[0].UID != "u1" || l[1].Err != nil || l[1].UID != "u2" {
		t.Errorf("listing %+v", l)
	}
	s.Break(errors.New("runtime is restarting"))
	if _, err := c.List(t.Context()); err == nil {
		t.Error("a runtime that fails lists nothing and gives no error")
	}
}

func TestWatchTellsOfPods(t *testing.T) {
	s := critest.Start(t)
	c := connect(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	done := make(chan error)
	go func() { done <- c.Watch(ctx, func() { changed <- struct{}{} }) }()
	for i := 0; ; i++ {
		s.Run(critest.Pod{ID: string(rune('a' + i))})
		select {
		case <-changed:
			cancel()
			if err := <-done; err == nil || errors.Is(err, cri.ErrNoEvents) {
				t.Errorf("the watch ended with %v", err)
			}
			return
		case <-time.After(50 * time.Millisecond): // the watch may have begun after the pod ran
			if i == 100 {
				t.Fatal("no event of a hundred pods")
			}
		}
	}
}

func TestRuntimesWithoutEvents(t *testing.T) {
	silent := critest.Start(t)
	silent.Silent = true
	if err := connect(t, silent).Watch(t.Context(), func() {}); !errors.Is(err, cri.ErrNoEvents) {
		t.Errorf("the watch ended with %v", err)
	}
	old := critest.Start(t)
	old.Version1 = true
	if err := connect(t, old).Watch(t.Context(), func() {}); !errors.Is(err, cri.ErrNoEvents) {
		t.Errorf("the watch of containerd 1.7 ended with %v", err)
	}
}

func TestDefaultSockets(t *testing.T) {
	for kind, want := range map[string]string{
		"containerd": "/run/containerd/containerd.sock", "crio": "/run/crio/crio.sock",
		"k3s_containerd": "/run/k3s/containerd/containerd.sock",
	} {
		if got, err := cri.DefaultSocket(kind); err != nil || got != want {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
	if _, err := cri.DefaultSocket("rkt"); err == nil {
		t.Error("a runtime that is not known has a socket")
	}
}
