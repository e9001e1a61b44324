package storetest

import (
	"bytes"
	"math"
	"slices"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/store"
)

// testReading reads several blocks of several tenants at once.
func testReading(f *fixture) {
	l := f.log
	first := l.Block(nil, l.Key("acme"), l.Random("acme", 12), l.Held("acme"), l.Random("globex", 5))
	f.commit(first)
	second := f.commit(l.Block(nil, l.Whole("acme", chain.Malformed, []byte{0, 1, 2}), l.Random("globex", 300), l.Random("acme", 7)))
	r := store.NewReading()
	ok, err := f.store.Read(f.Context(), r, 1, second.Last)
	if f.must(err); !ok {
		return // a server, of which there is no reading
	}
	all, ok := r.Messages()
	if !ok {
		f.Fatal("the rows do not make messages")
	}
	f.readOneByOne("acme", all)
	f.readOneByOne("globex", all)
	f.contents("acme", 0, math.MaxUint64)
	f.contents("acme", 3, 9)
	f.contents("globex", 0, math.MaxUint64)
	f.swap("events", "SELECT * FROM ${db}.events ORDER BY tenant, idx LIMIT 1, 1000000", func() { f.contents("acme", 0, math.MaxUint64) })
	f.partly(r, first)
	f.loads(first, second)
}

// readOneByOne holds the messages of a reading to those of Messages.
func (f *fixture) readOneByOne(tenant string, all []*store.Stored) {
	f.Helper()
	for want, err := range f.store.Messages(f.Context(), tenant, 0) {
		f.must(err)
		at := slices.IndexFunc(all, func(m *store.Stored) bool { return m.StreamSeq == want.StreamSeq })
		got := all[at]
		if data, ok := got.Encode(nil); !ok || !bytes.Equal(data, want.Data) || got.Subject != want.Subject || got.Producer != want.Producer {
			f.Errorf("message %d: %+v, want %+v", want.StreamSeq, got, want)
		}
		if got.MessageDigest != want.MessageDigest || got.StreamDigest != want.StreamDigest || got.BatchDigest != want.BatchDigest {
			f.Errorf("message %d has other digests", want.StreamSeq)
		}
		if diff := cmp.Diff(want.Leaves, got.Leaves); diff != "" || got.FirstIndex != want.FirstIndex || got.MessageTime != want.MessageTime {
			f.Errorf("message %d (-want +got):\n%s", want.StreamSeq, diff)
		}
	}
}

// contents holds what is read page by page to Messages, also where an event is gone.
func (f *fixture) contents(tenant string, from, to uint64) {
	f.Helper()
	var got []*store.Stored
	for page, err := range f.store.Contents(f.Context(), tenant, from, to) {
		f.must(err)
		got = append(got, page...)
	}
	for want, err := range f.store.Messages(f.Context(), tenant, from) {
		f.must(err)
		if want.FirstIndex >= to {
			break
		}
		if len(got) == 0 {
			f.Fatalf("no message with leaf %d", want.FirstIndex)
		}
		f.sameContent(got[0], want)
		got = got[1:]
	}
	if len(got) > 0 {
		f.Errorf("%d messages more than there are", len(got))
	}
}

func (f *fixture) sameContent(got, want *store.Stored) {
	f.Helper()
	if diff := cmp.Diff(want.Batch, got.Batch, protocmp.Transform()); diff != "" {
		f.Errorf("message %d (-want +got):\n%s", want.StreamSeq, diff)
	}
	if diff := cmp.Diff(want.Leaves, got.Leaves); diff != "" || got.FirstIndex != want.FirstIndex || got.Expired != want.Expired {
		f.Errorf("message %d (-want +got):\n%s", want.StreamSeq, diff)
	}
	if want.Batch == nil && !bytes.Equal(got.Data, want.Data) {
		f.Errorf("message %d is kept as %x, want %x", want.StreamSeq, got.Data, want.Data)
	}
}

// partly reads with rows gone that belong to messages: they are no messages any more.
func (f *fixture) partly(r *store.Reading, b *store.Block) {
	f.Helper()
	for _, table := range []string{"events", "leaves", "batches"} {
		f.swap(table, "SELECT * FROM ${db}."+table+" ORDER BY tenant, idx LIMIT 1, 1000000", func() {
			_, err := f.store.Read(f.Context(), r, b.First, b.Last)
			f.must(err)
			if _, ok := r.Messages(); ok {
				f.Errorf("%s: the first row is gone and not missed", table)
			}
		})
	}
	if _, err := f.store.Compare(f.Context(), f.log.Block(nil, f.log.Random("acme", 1)), r); err == nil {
		f.Error("a block is compared with the reading of another")
	}
}

func (f *fixture) loads(blocks ...*store.Block) {
	f.Helper()
	loads, err := f.store.Loads(f.Context())
	f.must(err)
	if len(loads) != len(blocks) {
		f.Fatalf("%d loads of %d blocks", len(loads), len(blocks))
	}
	for i, b := range blocks {
		want := store.Load{Last: b.Last, Events: uint64(b.Events()), Bytes: uint64(b.Bytes())}
		if loads[i] != want {
			f.Errorf("load %+v, want %+v", loads[i], want)
		}
	}
}
