package ingest

import (
	"context"
	"fmt"
	"sync"
)

// flight counts the batches that are on their way: from before their content is sealed until the stream has them.
type flight struct {
	mu      sync.Mutex
	current *sync.WaitGroup
}

func newFlight() *flight { return &flight{current: new(sync.WaitGroup)} }

// board counts a batch until land is called.
func (f *flight) board() (land func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current.Add(1)
	return f.current.Done
}

// wait returns when every batch that boarded before has landed. Those that board later are not waited for.
func (f *flight) wait(ctx context.Context) error {
	f.mu.Lock()
	before := f.current
	f.current = new(sync.WaitGroup)
	f.mu.Unlock()
	landed := make(chan struct{})
	go func() {
		before.Wait()
		close(landed)
	}()
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for batches on their way: %w", context.Cause(ctx))
	}
}
