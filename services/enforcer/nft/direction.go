package nft

import (
	"github.com/google/nftables"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// direction of a packet, as seen from the pod.
type direction int

const (
	inbound direction = iota
	outbound
)

// prefix begins the names of the direction's chains.
func (d direction) prefix() string { return [...]string{"in_", "out_"}[d] }

func (d direction) baseChain() string { return [...]string{"input", "output"}[d] }

func (d direction) hook() *nftables.ChainHook {
	return [...]*nftables.ChainHook{nftables.ChainHookInput, nftables.ChainHookOutput}[d]
}

func (d direction) interfaceWord() string { return [...]string{"iif", "oif"}[d] }

func (d direction) addressWord() string { return [...]string{"saddr", "daddr"}[d] }

func (d direction) rules(p datapath.Policy) []datapath.Rule {
	return [...][]datapath.Rule{p.Inbound, p.Outbound}[d]
}
