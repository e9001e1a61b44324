package store_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/storetest"
)

// TestBlockLetsGoOfMessages: a block has the bytes of its messages, and not what was decoded from them, which is as large again and all pointers.
func TestBlockLetsGoOfMessages(t *testing.T) {
	l, gone := storetest.NewLog(t, 1), make(chan bool)
	b := store.NewBlock(1)
	addForgotten(b, l.Random("acme", 5), gone)
	for range 20 {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(b)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the block keeps the decoded events")
	runtime.KeepAlive(b)
}

func addForgotten(b *store.Block, f *store.Folded, gone chan<- bool) {
	b.Add(f)
	runtime.AddCleanup(f, func(gone chan<- bool) { close(gone) }, gone)
}

// TestOneByOne holds for one block, and not for the next in its memory.
func TestOneByOne(t *testing.T) {
	b := store.NewBlock(1)
	several := b.AtOnce()
	b.OneByOne()
	one := b.AtOnce()
	b.Reset(2)
	if again := b.AtOnce(); several <= 1 || one != 1 || again != several {
		t.Errorf("%d tables at once, then %d, then %d", several, one, again)
	}
}
