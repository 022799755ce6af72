package clas

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// packed holds sorted pairs of texts in one string, for the labels and annotations of a hundred thousand pods: each text is
// led by its length.
type packed string

// packPairs packs a map, but for the keys that skip names.
func packPairs(m map[string]string, skip func(key string) bool) packed {
	if len(m) == 0 {
		return ""
	}
	var room [16]string
	keys := room[:0]
	size := 0
	for k, v := range m {
		if skip == nil || !skip(k) {
			keys = append(keys, k)
			size += textSize(k) + textSize(v)
		}
	}
	slices.Sort(keys)
	var b strings.Builder
	b.Grow(size)
	for _, k := range keys {
		writeText(&b, k)
		writeText(&b, m[k])
	}
	return packed(b.String())
}

// packLike is packPairs of the whole map, faster where the map has the keys of pairs that are packed already.
func packLike(like packed, m map[string]string) packed {
	n, size := 0, 0
	for k := range like.all() {
		v, there := m[k]
		if !there {
			return packPairs(m, nil)
		}
		n++
		size += textSize(k) + textSize(v)
	}
	if n != len(m) {
		return packPairs(m, nil)
	}
	var b strings.Builder
	b.Grow(size)
	for k := range like.all() {
		writeText(&b, k)
		writeText(&b, m[k])
	}
	return packed(b.String())
}

// textSize is what a text takes among pairs.
func textSize(text string) int { return len(text) + (bits.Len(uint(len(text))|1)+6)/7 }

func writeText(b *strings.Builder, text string) {
	var length [binary.MaxVarintLen64]byte
	b.Write(length[:binary.PutUvarint(length[:], uint64(len(text)))])
	b.WriteString(text)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// all gives the pairs in the order of their keys.
func (p packed) all() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := string(p); rest != ""; {
			var key, value string
			key, rest = cutText(rest)
			value, rest = cutText(rest)
			if !yield(key, value) {
				return
			}
		}
	}
}

// cutText takes the first text off.
func cutText(s string) (text, rest string) {
	n, i := uint64(0), 0
	for shift := 0; ; shift += 7 {
		c := s[i]
		i++
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	return s[i : i+int(n)], s[i+int(n):]
}

func (p packed) get(key string) (string, bool) {
	for k, v := range p.all() {
		if k == key {
			return v, true
		}
	}
	return "", false
}

// texts unpacks into a map, nil where there is nothing.
func (p packed) texts() map[string]string {
	if p == "" {
		return nil
	}
	out := map[string]string{}
	for k, v := range p.all() {
		out[k] = v
	}
	return out
}

// text tells whether all of it is UTF-8.
func (p packed) text() bool {
	for k, v := range p.all() {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return false
		}
	}
	return true
}

// equal tells whether a map has the same pairs.
func (p packed) equal(m map[string]string) bool {
	n := 0
	for k, v := range p.all() {
		if have, there := m[k]; !there || have != v {
			return false
		}
		n++
	}
	return n == len(m)
}

// seed makes hashes that nobody can foresee, for tables. Nothing that leaves the engine depends on it.
var seed = maphash.MakeSeed()

// hashPairs hashes a map whatever its order.
func hashPairs(m map[string]string) uint64 {
	var sum uint64
	for k, v := range m {
		sum += mix(maphash.String(seed, k), maphash.String(seed, v))
	}
	return sum
}

// mix combines two hashes; the order matters.
func mix(a, b uint64) uint64 {
	a ^= b + 0x9e3779b97f4a7c15 + a<<6 + a>>2
	a *= 0xff51afd7ed558ccd
	return a ^ a>>33
}

func hashText(s string) uint64 { return maphash.String(seed, s) }

func hashBytes(b []byte) uint64 { return maphash.Bytes(seed, b) }

// requestsLabel tells whether an annotation requests a label, and of which key.
func requestsLabel(name string) (key string, requests bool) {
	return strings.CutPrefix(name, annotationPrefix)
}
