package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ringfence/ringfence/tools/shop"
)

// probeTimeout is how long a connection may take: a blocked one never answers.
const probeTimeout = "1500ms"

// target is one probe to make from one pod.
type target struct {
	observation Observation
	address     string
}

// Probe connects from every workload of the sample to every one that listens, by every way, and returns what it saw.
// Where a workload has several pods, those on different nodes are chosen; prefer names pods that are chosen first.
func (d *Demo) Probe(ctx context.Context, phase string, expect func(from, to string) Outcome, prefer ...string) ([]Observation, error) {
	pods := map[string][]corev1.Pod{}
	for _, w := range sample {
		found, err := d.Cluster.Pods(ctx, w.Namespace, w.Selector())
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("workload %s has no pod", w.Key())
		}
		pods[w.Name] = found
	}
	bySource := map[string][]target{}
	sources := map[string]corev1.Pod{}
	for _, c := range pairs() {
		from, to := choose(pods[c.from], pods[c.to], prefer)
		sources[from.Name] = from
		for _, t := range d.targets(c, from, to) {
			t.observation.Phase, t.observation.Expected = phase, expect(c.from, c.to)
			bySource[from.Name] = append(bySource[from.Name], t)
		}
	}
	return d.probeAll(ctx, sources, bySource)
}

// choose picks a pair of pods: preferred ones first, then a pair on different nodes.
func choose(from, to []corev1.Pod, prefer []string) (corev1.Pod, corev1.Pod) {
	rank := func(a, b corev1.Pod) int {
		score := 0
		if a.Spec.NodeName != b.Spec.NodeName {
			score++
		}
		for _, name := range prefer {
			if a.Name == name || b.Name == name {
				score += 2
			}
		}
		return score
	}
	best, bestFrom, bestTo := -1, from[0], to[0]
	for _, a := range from {
		for _, b := range to {
			if score := rank(a, b); score > best {
				best, bestFrom, bestTo = score, a, b
			}
		}
	}
	return bestFrom, bestTo
}

func (d *Demo) targets(c connection, from, to corev1.Pod) []target {
	w := workload(c.to)
	detail := fmt.Sprintf("%s on %s to %s on %s", from.Name, from.Spec.NodeName, to.Name, to.Spec.NodeName)
	var all []target
	for _, ip := range to.Status.PodIPs {
		via := ViaPod
		if netip.MustParseAddr(ip.IP).Is6() {
			via = ViaPodIPv6
		}
		all = append(all, target{
			Observation{From: c.from, To: c.to, Port: w.Port, Via: via, Detail: detail},
			net.JoinHostPort(ip.IP, strconv.Itoa(w.Port)),
		})
	}
	return append(all, target{
		Observation{From: c.from, To: c.to, Port: w.ServicePort, Via: ViaService, Detail: fmt.Sprintf("%s on %s to Service %s", from.Name, from.Spec.NodeName, w.Key())},
		net.JoinHostPort(w.Name+"."+w.Namespace, strconv.Itoa(w.ServicePort)),
	})
}

// probeAll runs the probes of all source pods at the same time and returns the observations in the order of pairs.
func (d *Demo) probeAll(ctx context.Context, sources map[string]corev1.Pod, bySource map[string][]target) ([]Observation, error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		seen  = map[string][]Observation{}
		first error
	)
	for name, targets := range bySource {
		group.Go(func() {
			pod := sources[name]
			observations, err := d.probeFrom(ctx, pod, targets)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
			seen[name] = observations
		})
	}
	group.Wait()
	if first != nil {
		return nil, first
	}
	byPair := map[connection][]Observation{}
	for _, observations := range seen {
		for _, o := range observations {
			c := connection{o.From, o.To}
			byPair[c] = append(byPair[c], o)
		}
	}
	var all []Observation
	for _, c := range pairs() {
		all = append(all, byPair[c]...)
	}
	return all, nil
}

func (d *Demo) probeFrom(ctx context.Context, pod corev1.Pod, targets []target) ([]Observation, error) {
	command := []string{"/shop", "probe", "--timeout", probeTimeout, "-o", "json"}
	for _, t := range targets {
		command = append(command, t.address)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	output, err := d.Cluster.Exec(ctx, pod.Namespace, pod.Name, command...)
	if err != nil {
		return nil, err
	}
	var results []shop.Result
	if err := json.Unmarshal(output, &results); err != nil || len(results) != len(targets) {
		return nil, fmt.Errorf("probes from pod %s: %d results for %d targets: %w", pod.Name, len(results), len(targets), err)
	}
	var observations []Observation
	for i, result := range results {
		o := targets[i].observation
		o.Observed = Connects
		if !result.Connected {
			o.Observed = Blocked
			o.Detail += ": " + result.Error
		}
		observations = append(observations, o)
	}
	return observations, nil
}
