package engine

import "testing"

// TestMergeThreads: one at the least, four at the most, and a processor for each two between.
func TestMergeThreads(t *testing.T) {
	for processors, want := range map[int]int64{1: 1, 2: 1, 3: 1, 4: 2, 8: 4, 64: 4} {
		if got := mergeThreads(processors); got != want {
			t.Errorf("%d processors: %d threads, not %d", processors, got, want)
		}
	}
}
