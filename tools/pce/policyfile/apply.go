package policyfile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	api "github.com/ringfence/ringfence/libs/pce"
)

// Provisioned is a version that was made.
type Provisioned struct {
	Version int64 `json:"version"`
	Objects int   `json:"objects"`
}

// Apply does what the plan says, in its order, and stops at what is refused. What was done stays, and a new plan goes on from there.
// With provision, what the files are about becomes active; it gives nil where nothing of that was pending.
func (p *Plan) Apply(ctx context.Context, provision bool, message string) (*Provisioned, error) {
	// What acts at once may still be used by the active policy: it goes last.
	last := func(c *Change) bool { return c.Action == Delete && c.atOnce }
	for _, c := range p.Changes {
		if last(c) {
			continue
		}
		if err := p.do(ctx, c); err != nil {
			return nil, err
		}
	}
	var made *Provisioned
	if provision {
		var err error
		if made, err = p.provision(ctx, message); err != nil {
			return nil, err
		}
	}
	for _, c := range p.Changes {
		if !last(c) {
			continue
		}
		err := p.do(ctx, c)
		if err != nil && !provision && inUse(err) {
			p.Notes = append(p.Notes, fmt.Sprintf("%s %q stays until the policy is provisioned: %v", singular(c.Kind), c.Name, err))
			continue
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

// inUse tells whether a removal was refused because of what refers to the object.
func inUse(err error) bool {
	return api.KindOf(err) == api.Refused && strings.Contains(err.Error(), "_in_use")
}

func (p *Plan) do(ctx context.Context, c *Change) (err error) {
	switch c.Action {
	case Create:
		err = p.create(ctx, c)
	case Update:
		err = p.update(ctx, c)
	default:
		err = p.console.Delete(ctx, c.Href)
	}
	if err != nil {
		return fmt.Errorf("%s %s %q: %w", c.Action, singular(c.Kind), c.Name, err)
	}
	c.Done = true
	return nil
}

func (p *Plan) create(ctx context.Context, c *Change) error {
	fields, err := c.shape.write(p.there.catalogue, c.plain)
	if err != nil {
		return err
	}
	path, err := p.collection(c)
	if err != nil {
		return err
	}
	k := kindNamed(c.Kind)
	if k != nil {
		fields = k.forConsole(fields.(map[string]any))
	}
	made, err := p.console.Create(ctx, path, fields)
	if err != nil {
		return err
	}
	c.Href = made.Href()
	if k == nil {
		return nil // a rule: nothing refers to it
	}
	p.there.add(c.Kind, c.Name, c.Href)
	if k.versioned {
		p.versioned[c.Kind] = append(p.versioned[c.Kind], c.Href)
	}
	return nil
}

// collection is where an object is made.
func (p *Plan) collection(c *Change) (string, error) {
	k := kindNamed(c.Kind)
	switch {
	case k == nil:
		set, err := p.there.href(kindRuleSets, c.owner)
		return draftOf(set) + "/" + c.Kind, err
	case c.Kind == kindProfiles:
		cluster, err := p.there.href(kindClusters, c.plain["cluster"].(string))
		return cluster + "/" + kindProfiles, err
	case k.versioned:
		return p.console.Org() + "/sec_policy/" + api.Draft + "/" + c.Kind, nil
	}
	return p.console.Org() + "/" + c.Kind, nil
}

// update sends the fields that differ. One that a file leaves out gets its default.
func (p *Plan) update(ctx context.Context, c *Change) error {
	changed := map[string]any{}
	for _, f := range c.shape.fields {
		i := slices.IndexFunc(c.Fields, func(d Difference) bool { return d.Field == f.name })
		if i < 0 {
			continue
		}
		plain := c.Fields[i].After
		if plain == nil {
			plain = f.otherwise
		}
		if plain == nil {
			changed[f.name] = f.shape.clear()
			continue
		}
		written, err := f.shape.write(p.there.catalogue, plain)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		changed[f.name] = written
	}
	if k := kindNamed(c.Kind); k != nil {
		changed = k.forConsole(changed)
	}
	return p.console.Update(ctx, c.Href, changed)
}

// provision makes active what is pending of the objects that the files are about.
func (p *Plan) provision(ctx context.Context, message string) (*Provisioned, error) {
	pending, err := p.console.Document(ctx, p.console.Org()+"/sec_policy/pending")
	if err != nil {
		return nil, err
	}
	subset, n := map[string][]api.Ref{}, 0
	for kind, hrefs := range p.versioned {
		var drafts []api.Ref
		if err := json.Unmarshal(orNone(pending[kind]), &drafts); err != nil {
			return nil, fmt.Errorf("pending %s: %w", kind, err)
		}
		for _, d := range drafts {
			if slices.Contains(hrefs, draftOf(d.Href)) {
				subset[kind] = append(subset[kind], d)
				n++
			}
		}
	}
	if n == 0 {
		return nil, nil
	}
	answer, err := p.console.Create(ctx, p.console.Org()+"/sec_policy", map[string]any{"update_description": message, "change_subset": subset})
	if err != nil {
		return nil, fmt.Errorf("provision: %w", err)
	}
	made := &Provisioned{Objects: n}
	if err := json.Unmarshal(answer["version"], &made.Version); err != nil {
		return nil, fmt.Errorf("provision: version: %w", err)
	}
	return made, nil
}

func orNone(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("[]")
	}
	return raw
}
