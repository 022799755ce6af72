package workload

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/google/uuid"
)

// seed of everything that looks random.
const seed = 20261125

// Streams of draws are independent of each other.
const (
	streamNode = iota + 1
	streamUID
	streamText
	streamChange
)

// draws gives the source of the draws of one object.
func draws(stream uint64, object int) *rand.Rand {
	return rand.New(rand.NewPCG(seed+stream<<32, uint64(object)))
}

// randomNode is uniform over the nodes.
func randomNode(object, nodes int) int { return draws(streamNode, object).IntN(nodes) }

// uidOf gives an object its uid.
func uidOf(object int) string {
	var id uuid.UUID
	source := draws(streamUID, object)
	binary.BigEndian.PutUint64(id[:8], source.Uint64())
	binary.BigEndian.PutUint64(id[8:], source.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
	return id.String()
}

// randomText is a name of the length, as a generator of names in Kubernetes makes them.
func randomText(object, length int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	source := draws(streamText, object)
	out := make([]byte, length)
	for i := range out {
		out[i] = letters[source.IntN(len(letters))]
	}
	return string(out)
}

// addressOf scatters the pods over 10.0.0.0/8, so that no two of the first sixteen million have the same address: every
// step of it can be undone.
func addressOf(pod int) netip.Addr {
	const mask = 1<<24 - 1
	x := uint32(pod) * 0x9e3779b1 & mask
	x ^= x >> 12
	x = x * 0x85ebca6b & mask
	x ^= x >> 11
	return netip.AddrFrom4([4]byte{10, byte(x >> 16), byte(x >> 8), byte(x)})
}

// nodeAddress is the node's own.
func nodeAddress(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16, byte(node >> 8), byte(node)})
}
