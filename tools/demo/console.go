package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// console is the policy author's side: the REST API of the PCE, as any client of it would use it.
type console struct {
	client  *pce.Client
	cluster pce.ContainerCluster
	labels  map[string]string // key=value to href
}

// label finds or makes a label and returns its href.
func (c *console) label(ctx context.Context, key, value string) (string, error) {
	if href, ok := c.labels[key+"="+value]; ok {
		return href, nil
	}
	l, ok, err := c.client.FindLabel(ctx, key, value)
	if err == nil && !ok {
		l, err = c.client.CreateLabel(ctx, pce.Label{Key: key, Value: value})
	}
	if err != nil {
		return "", err
	}
	c.labels[key+"="+value] = l.Href
	return l.Href, nil
}

// writeLabels makes the labels that the sample's workloads ask for by annotation and its profiles assign.
func (c *console) writeLabels(ctx context.Context) error {
	for _, w := range sample {
		if _, err := c.label(ctx, "role", w.Name); err != nil {
			return err
		}
	}
	for _, namespace := range sampleNamespaces {
		if _, err := c.label(ctx, "app", namespace); err != nil {
			return err
		}
	}
	_, err := c.label(ctx, "env", "production")
	return err
}

// pairingKey makes a key by which the cluster's nodes become workloads, to be looked at.
func (c *console) pairingKey(ctx context.Context) (string, error) {
	profile, err := c.client.CreatePairingProfile(ctx, pce.PairingProfile{
		Name: c.cluster.Name + " nodes", Enabled: true, EnforcementMode: pce.ModeVisibilityOnly, Labels: []pce.Ref{},
	})
	if err != nil {
		return "", err
	}
	return c.client.CreatePairingKey(ctx, profile.Href)
}

// waitForProfiles waits until the cluster reported its namespaces, so that the console made their profiles.
func (c *console) waitForProfiles(ctx context.Context) (map[string]pce.ContainerWorkloadProfile, error) {
	for {
		profiles, err := c.client.Profiles(ctx, c.cluster.Href)
		if err == nil {
			found := map[string]pce.ContainerWorkloadProfile{}
			for _, p := range profiles {
				if p.Namespace != nil && slices.Contains(sampleNamespaces, *p.Namespace) {
					found[*p.Namespace] = p
				}
			}
			if len(found) == len(sampleNamespaces) {
				return found, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("profiles of namespaces %v in the console: %w", sampleNamespaces, errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// setMode manages the sample's namespaces in an enforcement mode, with the labels that their profiles assign.
func (c *console) setMode(ctx context.Context, mode string) error {
	profiles, err := c.waitForProfiles(ctx)
	if err != nil {
		return err
	}
	managed := true
	for _, namespace := range sampleNamespaces {
		app, err := c.label(ctx, "app", namespace)
		if err != nil {
			return err
		}
		env, err := c.label(ctx, "env", "production")
		if err != nil {
			return err
		}
		err = c.client.Update(ctx, profiles[namespace].Href, pce.ContainerWorkloadProfile{
			Managed: &managed, EnforcementMode: mode, Labels: []pce.ProfileLabel{
				{Key: "app", Assignment: &pce.LabelRef{Href: app}},
				{Key: "env", Assignment: &pce.LabelRef{Href: env}},
			},
		})
		if err != nil {
			return fmt.Errorf("profile of namespace %s: %w", namespace, err)
		}
	}
	return nil
}

// writeRules drafts the sample's policy: within the shop web → api → database, and from the shop's api to the ledger of
// payments, which is a rule across scopes.
func (c *console) writeRules(ctx context.Context) error {
	shop, err := c.scope(ctx, "shop")
	if err != nil {
		return err
	}
	payments, err := c.scope(ctx, "payments")
	if err != nil {
		return err
	}
	http, err := c.client.CreateService(ctx, pce.Service{Name: "HTTP of the shop", ServicePorts: []pce.ServicePort{port(8080)}})
	if err != nil {
		return err
	}
	inShop, err := c.client.CreateRuleSet(ctx, pce.RuleSet{Name: "Shop", Scopes: [][]pce.Actor{shop}})
	if err != nil {
		return err
	}
	inPayments, err := c.client.CreateRuleSet(ctx, pce.RuleSet{Name: "Payments", Scopes: [][]pce.Actor{payments}})
	if err != nil {
		return err
	}
	web, api, database, ledger := c.labels["role=web"], c.labels["role=api"], c.labels["role=database"], c.labels["role=ledger"]
	for _, draft := range []struct {
		ruleSet string
		rule    pce.Rule
	}{
		{inShop.Href, pce.Rule{Consumers: actors(web), Providers: actors(api), IngressServices: []pce.IngressService{{Href: http.Href}}}},
		{inShop.Href, pce.Rule{Consumers: actors(api), Providers: actors(database), IngressServices: []pce.IngressService{{ServicePort: port(5432)}}}},
		{inPayments.Href, pce.Rule{
			Consumers: actors(c.labels["app=shop"], api), Providers: actors(ledger),
			IngressServices: []pce.IngressService{{Href: http.Href}}, UnscopedConsumers: true,
		}},
	} {
		if _, err := c.client.CreateRule(ctx, draft.ruleSet, draft.rule); err != nil {
			return err
		}
	}
	return nil
}

func (c *console) scope(ctx context.Context, app string) ([]pce.Actor, error) {
	a, err := c.label(ctx, "app", app)
	if err != nil {
		return nil, err
	}
	e, err := c.label(ctx, "env", "production")
	return actors(a, e), err
}

func actors(labels ...string) []pce.Actor {
	var all []pce.Actor
	for _, href := range labels {
		all = append(all, pce.Actor{Label: &pce.Ref{Href: href}})
	}
	return all
}

func port(number int) pce.ServicePort {
	tcp := 6
	return pce.ServicePort{Port: &number, Proto: &tcp}
}
