package pcebridge

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxChunk bounds the entries of one chunk of a manifest, in encoded bytes.
const maxChunk = 400 << 10

// version gives what it takes to commit a policy: the objects that the committed manifest does not have, and the chunks.
// Where the policy is committed already, both are empty.
func (l *ledger) version(p *policy) (objects, chunks []eventlog.Draft) {
	have := map[string]bool{}
	if l.committed != nil {
		for _, sum := range l.committed.entries {
			have[sum] = true
		}
	}
	entries := map[string]string{}
	for _, href := range slices.Sorted(maps.Keys(p.objects)) {
		o := p.objects[href]
		entries[href] = o.sha256
		if !have[o.sha256] {
			fact := &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: o.fact}}
			objects = append(objects, eventlog.Draft{Subject: eventlog.ObjectSubject(o.sha256), Fact: fact})
		}
	}
	if l.committed != nil && l.committed.version == p.version && maps.Equal(l.committed.entries, entries) {
		return nil, nil
	}
	return objects, chunksOf(p, entries)
}

// chunksOf splits a manifest. An empty one is one chunk without entries.
func chunksOf(p *policy, entries map[string]string) []eventlog.Draft {
	var parts [][]*ringfencev1.ManifestEntry
	size := maxChunk
	for _, href := range slices.Sorted(maps.Keys(entries)) {
		entry := &ringfencev1.ManifestEntry{Href: href, Sha256: entries[href]}
		if size += proto.Size(entry) + 4; size > maxChunk {
			parts, size = append(parts, nil), 0
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], entry)
	}
	if len(parts) == 0 {
		parts = append(parts, nil)
	}
	drafts := make([]eventlog.Draft, len(parts))
	for i, part := range parts {
		chunk := &ringfencev1.Provisioned{
			Version: p.version, Chunk: uint32(i), Chunks: uint32(len(parts)), Entries: part, ProvisionedAt: p.provisionedAt,
		}
		drafts[i] = eventlog.Draft{
			Subject: eventlog.ProvisionedSubject(uint32(i)),
			Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Provisioned{Provisioned: chunk}},
		}
	}
	return drafts
}

// commit writes the chunks. From the first until the last, no manifest is known to be whole.
func (l *ledger) commit(ctx context.Context, p *policy, chunks []eventlog.Draft) error {
	if len(chunks) > 0 {
		l.committed = nil
		if err := l.write(ctx, "manifest", chunks...); err != nil {
			return err
		}
		l.committed = &manifest{version: p.version, entries: map[string]string{}}
		for href, o := range p.objects {
			l.committed.entries[href] = o.sha256
		}
	}
	l.metrics.version.Set(float64(p.version))
	return nil
}
