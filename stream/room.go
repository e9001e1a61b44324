package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// roomInterval is how long a look at disk and stream counts: a second at a gigabyte a second is inside the
// default reserve.
const roomInterval = time.Second

// messageOverhead is what a message takes besides its data: subject, headers, record and checksum.
const messageOverhead = 256

// room decides whether there is space for a message before it is published, so that system messages are
// still taken when agents no longer are.
type room struct {
	cfg *Config

	mu     sync.Mutex
	asking bool      // somebody asks at this moment
	looked time.Time // when disk and stream were last asked
	free   int64     // bytes of the volume then
	bytes  int64     // bytes of the stream then, and what was admitted since
}

func newRoom(cfg *Config) *room { return &room{cfg: cfg} }

// admit returns ErrPushback if a message of so many bytes would eat into what is kept. Agents leave the
// system quota and the whole disk reserve; system messages leave a share of the disk reserve.
func (r *room) admit(ctx context.Context, s *Stream, subject string, size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.look(ctx, s); err != nil {
		return err
	}
	limit, reserve := r.cfg.MaxBytes-r.cfg.SystemQuota, r.cfg.DiskReserve
	if isSystem(subject) {
		limit, reserve = r.cfg.MaxBytes, reserve/systemReserveShare
	}
	need := int64(size + messageOverhead)
	switch {
	case r.bytes+need > limit:
		return fmt.Errorf("%w: stream holds %d of %d bytes", errNoRoom, r.bytes, limit)
	case r.cfg.Dir != "" && reserve > 0 && r.free < reserve:
		return fmt.Errorf("%w: %d bytes free on the volume of %s, reserve is %d", errNoRoom, r.free, r.cfg.Dir, reserve)
	}
	r.bytes += need
	return nil
}

// look asks disk and stream at most once an interval. Of several messages one asks; the others go by what was known
// until then, unless that is two intervals old. When the server does not answer, publishing will say so better.
func (r *room) look(ctx context.Context, s *Stream) error {
	old := time.Since(r.looked)
	if old < roomInterval || r.asking && old < 2*roomInterval {
		return nil
	}
	r.asking = true
	r.mu.Unlock()
	free, bytes, err := r.ask(ctx, s)
	r.mu.Lock()
	r.asking = false
	if err != nil {
		return err
	}
	r.free, r.bytes, r.looked = free, bytes, time.Now()
	return nil
}

// ask returns the free bytes of the volume, 0 for a cluster, and those of the stream.
func (r *room) ask(ctx context.Context, s *Stream) (free, bytes int64, err error) {
	if r.cfg.Dir != "" {
		if free, err = r.cfg.free(r.cfg.Dir); err != nil {
			return 0, 0, fmt.Errorf("ask for free space: %w", err)
		}
	}
	state, err := s.State(ctx)
	return free, state.Bytes, err
}

// hasSpace reports whether the volume has its reserve again.
func (r *room) hasSpace() bool {
	if r.cfg.Dir == "" {
		return true
	}
	free, err := r.cfg.free(r.cfg.Dir)
	return err == nil && free >= r.cfg.DiskReserve/systemReserveShare
}

// forget makes the next message look again.
func (r *room) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Time{}
}

// freeBytes is the space that an unprivileged process may still use on the volume of dir.
func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil
}
