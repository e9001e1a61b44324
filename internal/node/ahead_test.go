package node

import (
	"errors"
	"iter"
	"slices"
	"testing"
)

// counting yields 0, 1, 2 … up to n and then an error, and says whether it has ended.
func counting(n int, failure error, ended *bool) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		defer func() { *ended = true }()
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if failure != nil {
			yield(0, failure)
		}
	}
}

func TestAheadIsTheSameSequence(t *testing.T) {
	broken := errors.New("broken")
	for _, failure := range []error{nil, broken} {
		var got []int
		var last error
		ended := false
		for i, err := range ahead(counting(100, failure, &ended), 7) {
			if last = err; err == nil {
				got = append(got, i)
			}
		}
		if len(got) != 100 || !slices.IsSorted(got) || !errors.Is(last, failure) || !ended {
			t.Errorf("%v: %v, %v, ended %v", failure, got, last, ended)
		}
	}
}

// Whoever stops early leaves nothing behind that still reads.
func TestAheadEndsWithItsLoop(t *testing.T) {
	for _, after := range []int{0, 1, 50} {
		ended := false
		for i, err := range ahead(counting(1000, nil, &ended), 4) {
			if i == after || err != nil {
				break
			}
		}
		if !ended {
			t.Errorf("stopped after %d, and it still reads", after)
		}
	}
}
