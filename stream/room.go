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
	volume []volume  // that of Dir first, if there is one, then those of Beside, then
	bytes  int64     // bytes of the stream then, and what was admitted since
}

// volume is the space where a folder is.
type volume struct {
	dir  string
	free int64 // bytes
}

func newRoom(cfg *Config) *room { return &room{cfg: cfg} }

// admit returns ErrPushback if a message of so many bytes would eat into what is kept. Agents leave the
// system quota and the whole disk reserve; system messages leave a share of the disk reserve, and only where the stream itself
// is: what contains must be taken also while the store has no room.
func (r *room) admit(ctx context.Context, s *Stream, subject string, size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.look(ctx, s); err != nil {
		return err
	}
	need := int64(size + messageOverhead)
	if err := r.has(need, isSystem(subject)); err != nil {
		return err
	}
	r.bytes += need
	return nil
}

// has returns ErrPushback unless there is room for so many bytes.
func (r *room) has(need int64, system bool) error {
	limit, reserve, volumes := r.cfg.MaxBytes-r.cfg.SystemQuota, r.cfg.DiskReserve, r.volume
	if system {
		limit, reserve, volumes = r.cfg.MaxBytes, reserve/systemReserveShare, r.own()
	}
	if r.bytes+need > limit {
		return fmt.Errorf("%w: stream holds %d of %d bytes", errNoRoom, r.bytes, limit)
	}
	for _, v := range volumes {
		if reserve > 0 && v.free < reserve {
			return fmt.Errorf("%w: %d bytes free on the volume of %s, reserve is %d", errNoRoom, v.free, v.dir, reserve)
		}
	}
	return nil
}

// own is the volume of the stream, if it has one here.
func (r *room) own() []volume {
	if r.cfg.Dir == "" {
		return nil
	}
	return r.volume[:min(len(r.volume), 1)]
}

// Room returns why the smallest message of an agent would be pushed back at this moment, ErrPushback, or nil. It admits nothing.
func (s *Stream) Room(ctx context.Context) error {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if err := s.room.look(ctx, s); err != nil {
		return err
	}
	return s.room.has(messageOverhead, false)
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
	volumes, bytes, err := r.ask(ctx, s)
	r.mu.Lock()
	r.asking = false
	if err != nil {
		return err
	}
	r.volume, r.bytes, r.looked = volumes, bytes, time.Now()
	return nil
}

// ask returns the space of the volumes, and the bytes of the stream.
func (r *room) ask(ctx context.Context, s *Stream) (volumes []volume, bytes int64, err error) {
	folders := r.cfg.Beside
	if r.cfg.Dir != "" {
		folders = append([]string{r.cfg.Dir}, folders...)
	}
	for _, dir := range folders {
		free, err := r.cfg.free(dir)
		if err != nil {
			return nil, 0, fmt.Errorf("ask for free space: %w", err)
		}
		volumes = append(volumes, volume{dir, free})
	}
	state, err := s.State(ctx)
	return volumes, state.Bytes, err
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
