package ledger

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/storetest"
)

// preparing is a store that notes what is prepared.
type preparing struct {
	Store
	prepared []*store.Block
}

func (p *preparing) Prepare(b *store.Block) { p.prepared = append(p.prepared, b) }

// fullBlock is a writer with a block that takes no more, though it is small: it ends where the run does.
func fullBlock(t *testing.T) (*writer, *builder, *preparing) {
	t.Helper()
	noted := &preparing{}
	w := &writer{Ledger: &Ledger{cfg: Config{Store: noted, BlockAge: DefaultBlockAge}}, fold: NewFold(signer.PublicKey{}, nil), until: 1}
	w.took.Store(int64(time.Second))
	b := &builder{until: w.until}
	b.begin(store.NewBlock(1), time.Time{})
	b.cut.block.Add(storetest.NewLog(t, 1).Random("acme", 3))
	b.seq = 1
	return w, b, noted
}

// TestFullBlockIsPreparedWhileItWaits: its rows are written while the block before it is inserted, once, and it is handed over as it was then.
func TestFullBlockIsPreparedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b, noted := fullBlock(t)
		cuts, slots := make(chan *cut, 1), make(chan struct{})
		go func() {
			time.Sleep(time.Second) // the block before takes that long
			slots <- struct{}{}
		}()
		if err := w.step(t.Context(), b, nil, cuts, slots); err != nil {
			t.Fatal(err)
		}
		c := <-cuts
		if len(noted.prepared) != 1 || noted.prepared[0] != c.block || c.last != 1 || c.block.Last != 1 {
			t.Errorf("%d blocks prepared; block %d–%d handed over", len(noted.prepared), c.block.First, c.block.Last)
		}
	})
}

// TestFullBlockIsHandedOverAtOnce: where nothing is inserted, the rows are written by those who insert them, side by side.
func TestFullBlockIsHandedOverAtOnce(t *testing.T) {
	w, b, noted := fullBlock(t)
	cuts, slots := make(chan *cut, 1), make(chan struct{}, 1)
	slots <- struct{}{}
	if err := w.step(t.Context(), b, nil, cuts, slots); err != nil {
		t.Fatal(err)
	}
	if len(cuts) != 1 || len(noted.prepared) != 0 {
		t.Errorf("%d blocks handed over, %d prepared", len(cuts), len(noted.prepared))
	}
	if b.apart != w.cfg.BlockAge || b.age != maxBlockAge {
		t.Errorf("the end of a backlog is cut after %s, want %s; while messages keep coming after %s", b.apart, w.cfg.BlockAge, b.age)
	}
}

// TestCalmBlocksTakeTheirTime: as long as messages keep coming and the store is fast; not the end of what came, nor a backlog.
func TestCalmBlocksTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			full  bool
			quiet time.Duration // since the last message
			took  time.Duration // the block before
			want  bool
		}{
			{"messages keep coming", false, blockIdle - 1, calmTime, true},
			{"none comes any more", false, blockIdle, calmTime, false},
			{"the store is slow", false, 0, calmTime + 1, false},
			{"a backlog", true, 0, 0, false},
		} {
			w, b := new(writer), &builder{last: time.Now().Add(-c.quiet)}
			w.took.Store(int64(c.took))
			if got := w.calm(b, c.full); got != c.want {
				t.Errorf("%s: %v", c.name, got)
			}
		}
	})
}
