package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/agentcustody/custody/object"
	"github.com/agentcustody/custody/stream"
)

// sweepInterval is how often objects are looked for whose batch never came.
const sweepInterval = time.Hour

// openObjects opens the folder of sealed values that are too long for a batch. Its disk reserve is the stream's: neither
// may leave the other without.
func (n *Node) openObjects(context.Context) (err error) {
	reserve := n.cfg.DiskReserve
	setDefault(&reserve, stream.DefaultDiskReserve)
	if n.objects, err = object.Open(n.folder.path("objects"), n.vault, reserve); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.later(func() error { stop(); <-done; return nil })
	go func() {
		defer close(done)
		n.sweepObjects(ctx)
	}()
	return nil
}

// sweepObjects removes what no batch has named in time. The clock is ingest's own: nothing below the stream depends on it.
func (n *Node) sweepObjects(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		removed, err := n.objects.Sweep(ctx, n.cfg.Now().Add(-object.Patience))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.cfg.Log.ErrorContext(ctx, "objects not swept", slog.Any("error", err))
		case removed > 0:
			n.cfg.Log.InfoContext(ctx, "objects without a batch removed", slog.Int("objects", removed))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
