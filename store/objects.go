package store

import (
	"context"
	"iter"
	"slices"
)

// ObjectOpening is an opening whose plaintext has a given length, with the bytes of its event.
type ObjectOpening struct {
	Opening
	Event []byte // exact bytes; empty if held or expired
}

// openingsPage is how many openings are looked at together.
const openingsPage = 500

const selectOpeningsOfLength = `
SELECT idx, path, subject, generation, ciphertext
FROM ${db}.openings
WHERE tenant = {tenant:String} AND length(ciphertext) = {length:UInt64} AND (idx, path) > ({from:UInt64}, {path:String}) AND stream_seq <= {head:UInt64}
ORDER BY idx, path
LIMIT {most:UInt64}`

const selectEventBytes = `
SELECT idx, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String} AND idx IN {indices:Array(UInt64)} AND stream_seq <= {head:UInt64}`

// OpeningsOfLength yields, by index and path, the openings of committed events whose ciphertext has a given length: those of
// objects hold a salt and nothing else, and a few of empty values do too.
func (s *Store) OpeningsOfLength(ctx context.Context, tenant string, length int) iter.Seq2[*ObjectOpening, error] {
	return func(yield func(*ObjectOpening, error) bool) {
		after := Opening{}
		for {
			page, err := s.openingsPage(ctx, tenant, length, after)
			if err != nil {
				yield(nil, wrap(err, "read openings of %s", tenant))
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < openingsPage {
				return
			}
			after = page[len(page)-1].Opening
		}
	}
}

// openingsPage reads what comes after an opening. No event has the empty path, so the zero opening is before the first.
func (s *Store) openingsPage(ctx context.Context, tenant string, length int, after Opening) (page []*ObjectOpening, err error) {
	var o Opening
	var ciphertext string
	args := append(s.headArgs(), named("tenant", tenant), named("length", uint64(length)), named("from", after.Index), named("path", after.Path),
		named("most", uint64(openingsPage)))
	err = s.each(ctx, selectOpeningsOfLength, args, func() {
		o.Ciphertext = []byte(ciphertext)
		page = append(page, &ObjectOpening{Opening: o})
	}, &o.Index, &o.Path, &o.Subject, &o.Generation, &ciphertext)
	if err != nil || len(page) == 0 {
		return nil, err
	}
	return page, s.addEvents(ctx, tenant, page)
}

func (s *Store) addEvents(ctx context.Context, tenant string, page []*ObjectOpening) error {
	var index uint64
	var bytes string
	found := map[uint64][]byte{}
	indices := make([]uint64, len(page))
	for i, o := range page {
		indices[i] = o.Index
	}
	args := append(s.headArgs(), named("tenant", tenant), named("indices", slices.Compact(indices)))
	err := s.each(ctx, selectEventBytes, args, func() { found[index] = []byte(bytes) }, &index, &bytes)
	for _, o := range page {
		o.Event = found[o.Index]
	}
	return err
}
