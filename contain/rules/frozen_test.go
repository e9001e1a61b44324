package rules_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/agentcustody/custody/contain/rules"
)

// TestFrozen: a frozen state is that of its moment, whenever it is written and whatever the engine does meanwhile; and the engine goes on
// as one that was never frozen.
func TestFrozen(t *testing.T) {
	for name, log := range map[string][]*rules.Leaf{"agents at work": leaves(t, 1000), "anything": rules.RandomLog(2, 3000)} {
		t.Run(name, func(t *testing.T) { frozen(t, log) })
	}
}

func frozen(t *testing.T, log []*rules.Leaf) {
	t.Helper()
	set, rnd := defaults(t), rand.New(rand.NewPCG(3, 3))
	_, want := fold(t, set, log)
	engine := rules.New(set)
	var writing sync.WaitGroup
	defer writing.Wait()
	for _, l := range log {
		engine.Observe(l)
		if rnd.IntN(50) == 0 {
			expected, state := engine.Snapshot(), engine.Freeze()
			writing.Go(func() { // beside the engine
				var got bytes.Buffer
				if err := state.Write(&got); err != nil || !bytes.Equal(got.Bytes(), expected) {
					t.Errorf("written is another state (%v)", err)
				}
			})
		}
	}
	if engine.Hash() != want {
		t.Error("the engine came to another state")
	}
}

// full is a disk that is.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestFrozenFullDisk: the error of who takes it is the error.
func TestFrozenFullDisk(t *testing.T) {
	if err := rules.New(defaults(t)).Freeze().Write(full{}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
