package stream

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/agentcustody/custody/event"
)

// Limits of the stream, each with its reason.
const (
	// MaxMessage is the largest message with its headers: event.MaxStreamBatch and room for an id and an
	// expected sequence.
	MaxMessage = event.MaxStreamBatch + 4<<10

	// DuplicateWindow is how long JetStream remembers message ids: longer than a publish is retried at once.
	DuplicateWindow = 2 * time.Minute

	// DefaultMaxBytes is the stream's limit unless set: a year of a small site, less than common disks.
	DefaultMaxBytes = 256 << 30

	// DefaultSystemQuota is the part of MaxBytes that only system messages may use: about a million.
	DefaultSystemQuota = 1 << 30

	// DefaultDiskReserve is the free space below which agents are pushed back: room for the store to merge.
	DefaultDiskReserve = 1 << 30

	// systemReserveShare is the part of the disk reserve, one in so many, that system messages leave.
	systemReserveShare = 4

	// maxHeads bounds the bucket of heads: some kilobytes for each partition, history 1.
	maxHeads = 64 << 20

	// publishTimeout is how long a publish waits for its acknowledgement: many times a slow disk's sync.
	publishTimeout = 5 * time.Second

	// requestTimeout bounds every other request to the server.
	requestTimeout = 10 * time.Second
)

// Names of what is kept in JetStream.
const (
	streamName = "EVENTS"
	headBucket = "CUSTODY_HEADS"

	incarnationKey = "custody_incarnation" // metadata of the stream
)

// Config says where the stream is. Exactly one of Dir and URL is set. Every other zero value is a default.
type Config struct {
	Dir string // folder of the embedded server, created 0700

	URL       string      // nats:// or tls:// of a NATS cluster, several separated by commas
	TLS       *tls.Config // for URL
	CredsFile string      // user JWT and seed, for URL; secret
	NKeyFile  string      // seed, for URL; secret
	Replicas  int         // for URL; 1 to 5, 0 is 1

	MaxBytes    int64    // limit of the stream in bytes, with SystemQuota inside
	SystemQuota int64    // bytes of MaxBytes that only system messages may use
	DiskReserve int64    // free bytes of the volumes of Dir and Beside below which agents are pushed back; negative is none
	Beside      []string // further folders that must not run full before the stream does: that of the store

	Way    *RightOfWay  // agents' messages give it; nil: nobody has it
	NoSync bool         // leave syncing to the operating system; only for tests that measure something else
	Log    *slog.Logger // nil discards

	free    func(dir string) (int64, error) // free bytes of a volume; nil asks the operating system
	timeout time.Duration                   // of one publish; 0 is publishTimeout
}

// withDefaults fills in what is not set and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	if (c.Dir == "") == (c.URL == "") {
		return c, errors.New("exactly one of folder and URL must be set")
	}
	setDefault(&c.MaxBytes, DefaultMaxBytes)
	setDefault(&c.SystemQuota, min(DefaultSystemQuota, c.MaxBytes/systemReserveShare))
	setDefault(&c.DiskReserve, DefaultDiskReserve)
	setDefault(&c.Replicas, 1)
	setDefault(&c.timeout, publishTimeout)
	if c.MaxBytes < 0 || c.SystemQuota < 0 || c.SystemQuota >= c.MaxBytes {
		return c, errors.New("system quota must be less than the stream's limit")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.free == nil {
		c.free = freeBytes
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
