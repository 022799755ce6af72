package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// TableName is the name of our table, of family inet, in every network namespace.
const TableName = "ringfence"

var table = nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}

// Backend implements [datapath.Backend]. The zero value is ready.
type Backend struct{}

// Attach implements [datapath.Backend].
func (Backend) Attach(ns *podnetns.Handle) (datapath.Guard, error) {
	own, err := ns.Dup()
	if err != nil {
		return nil, err
	}
	g := &guard{ns: own}
	if err := g.dial(); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return g, nil
}

// guard implements [datapath.Guard]. It remembers what it programmed, so that an unchanged table costs nothing and a
// changed member costs one element.
type guard struct {
	ns   *podnetns.Handle
	conn *nftables.Conn
	// known tells that held and shape are what the kernel has. Any error ends that, and the next change reads first.
	known bool
	held  layout
	shape string
}

func (g *guard) dial() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(g.ns.FD()))
	if err != nil {
		return fmt.Errorf("open nf_tables in %s: %w", g.ns.Path(), err)
	}
	g.conn = conn
	return nil
}

// Apply implements [datapath.Guard].
func (g *guard) Apply(p datapath.Policy) (datapath.Change, error) {
	if err := p.Validate(); err != nil {
		return datapath.Change{}, err
	}
	l := arrange(p)
	if n := l.elements(); n > maxElements {
		return datapath.Change{}, fmt.Errorf("the policy takes %d set elements, and a pod may have %d", n, maxElements)
	}
	return g.program(l)
}

// maxElements bounds the kernel memory of one pod's table, which is charged to the enforcer: some 90 MB.
const maxElements = 1_000_000

func (g *guard) program(l layout) (change datapath.Change, err error) {
	shape := l.fingerprint()
	if g.known && g.shape == shape {
		change, err = g.exchange(l)
	} else {
		change, err = g.replace(l)
	}
	if err != nil {
		return datapath.Change{}, errors.Join(err, g.forget())
	}
	g.known, g.held, g.shape = true, l, shape
	return change, nil
}

// forget drops what was known of the kernel together with the connection, which may hold answers to lost questions.
func (g *guard) forget() error {
	g.known = false
	return errors.Join(g.conn.CloseLasting(), g.dial())
}

// Open implements [datapath.Guard].
func (g *guard) Open() error {
	there, err := g.exists()
	if err != nil {
		return err
	}
	if !there {
		g.known = false
		return nil
	}
	_, err = g.program(arrange(datapath.Policy{Mode: datapath.Idle}))
	return err
}

// Remove implements [datapath.Guard].
func (g *guard) Remove() error {
	there, err := g.exists()
	if err != nil || !there {
		return err
	}
	g.known = false
	g.conn.DelTable(&table)
	if err := g.conn.Flush(); err != nil {
		return fmt.Errorf("delete table %s: %w", TableName, err)
	}
	return nil
}

// Close implements [datapath.Guard].
func (g *guard) Close() error {
	return errors.Join(g.conn.CloseLasting(), g.ns.Close())
}

func (g *guard) exists() (bool, error) {
	tables, err := g.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, errors.Join(fmt.Errorf("list tables: %w", err), g.forget())
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName }), nil
}

// content is what the kernel has of our table, before a replacement.
type content struct {
	exists bool
	// chains but for the base chains.
	chains map[string]bool
	base   [2]bool
	sets   map[string]setKind
}

// read finds what must be flushed and deleted. What the guard programmed itself it need not ask for.
func (g *guard) read() (content, error) {
	c := content{chains: map[string]bool{}, sets: map[string]setKind{}}
	if g.known {
		return g.remembered(c), nil
	}
	var err error
	if c.exists, err = g.exists(); err != nil || !c.exists {
		return c, err
	}
	chains, err := g.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return c, fmt.Errorf("list chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name == TableName {
			c.addChain(ch.Name)
		}
	}
	sets, err := g.conn.GetSets(&table)
	if err != nil {
		return c, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		c.sets[s.Name] = kindOf(s)
	}
	return c, nil
}

func (c *content) addChain(name string) {
	switch name {
	case inbound.baseChain():
		c.base[inbound] = true
	case outbound.baseChain():
		c.base[outbound] = true
	default:
		c.chains[name] = true
	}
}

func (g *guard) remembered(c content) content {
	c.exists, c.base = true, [2]bool{true, true}
	for _, ch := range g.held.chains {
		c.chains[ch.name] = true
	}
	for _, s := range g.held.sets {
		c.sets[s.key.name()] = s.key.kind
	}
	return c
}

// noSpace tells a table that does not fit the memory which the enforcer may use: the kernel charges it to its cgroup.
func noSpace(err error) bool { return errors.Is(err, unix.ENOMEM) }
