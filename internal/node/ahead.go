package node

import "iter"

const (
	// messagesAhead is how many messages an export reads ahead of the one that it writes: at 1 MiB each they bound what it holds.
	messagesAhead = 16
	// pagesAhead is how many pages of the store's wait: none, so that one is read while another is used.
	pagesAhead = 0
)

// ahead runs a sequence in a goroutine of its own, so that reading and using share the cores. It reads at most n values that are
// not used yet, and has ended when the loop over it has.
func ahead[T any](seq iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		results, stop := make(chan result, n), make(chan struct{})
		go func() {
			defer close(results)
			for value, err := range seq {
				select {
				case results <- result{value, err}:
				case <-stop:
					return
				}
			}
		}()
		for r := range results {
			if !yield(r.value, r.err) {
				break
			}
		}
		close(stop)
		for range results { // until the goroutine has ended
		}
	}
}
