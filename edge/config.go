package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/agentcustody/custody/edge/spool"
)

// EnvEmitter is the environment variable that names the emitter's folder.
const EnvEmitter = "CUSTODY_EMITTER"

// FullPolicy is what Record does when the spool is full.
type FullPolicy uint8

const (
	// Block waits for room, or for the context. Nothing is lost, and the agent stops acting unrecorded.
	Block FullPolicy = iota
	// Error fails with ErrSpoolFull at once.
	Error
)

// Defaults of Config.
const (
	// DefaultMaxBatchAge bounds how long an event waits for company until it is sent with it.
	DefaultMaxBatchAge = 100 * time.Millisecond
	// DefaultMaxBackoff bounds the pause between two attempts to reach Custody.
	DefaultMaxBackoff = 30 * time.Second
	// DefaultCloseTimeout bounds how long Close waits for receipts; what is left is delivered at the next start.
	DefaultCloseTimeout = 10 * time.Second
	// DefaultApprovalWait is how long a call waits for an approver: long enough to be fetched, too short to be forgotten.
	DefaultApprovalWait = 10 * time.Minute
	// defaultHeartbeat is used until Custody has named an interval.
	defaultHeartbeat = time.Minute
	// defaultAnswerTimeout is how long Custody may take for a receipt before the connection is given up. It is longer
	// than Custody's own limit for one batch.
	defaultAnswerTimeout = 30 * time.Second
)

// Config of an emitter. Only Dir is needed.
type Config struct {
	Dir           string        // the folder that Join made
	Address       string        // host:port of Custody; empty: as at Join
	CA            []byte        // PEM of the authorities to trust; empty: as at Join
	FullPolicy    FullPolicy    // what Record does when the spool is full
	SpoolMaxBytes int64         // of disk for events without a receipt, ≥ 8 MiB; 0 is 256 MiB
	MaxBatchAge   time.Duration // by when an event is sent with what has come meanwhile; 0 is 100 ms
	MaxBackoff    time.Duration // between attempts to connect; 0 is 30 s
	CloseTimeout  time.Duration // how long Close waits for receipts; 0 is 10 s
	Software      string        // the agent's name and version, for Custody's list of emitters
	// WithoutWriteAhead lets Call begin high-consequence acts before Custody has the record of them.
	WithoutWriteAhead bool
	// WithoutGate lets Call act without Custody's gate: nothing that Custody contains stops, and no lease is needed.
	WithoutGate bool
	// ApprovalWait is how long a call waits for a person whom Custody asks, at most MaxApprovalWait; 0 is 10 min.
	ApprovalWait time.Duration
	// Detect lets package detect look at the clear text of what is recorded, and record what it finds about proposed calls. Rules
	// that go by where values come from need it.
	Detect bool
	// Receipts is a file to which every receipt is added, one signer.KeptReceipt a line: custody-verify --receipts holds a bundle to
	// them. A batch leaves the spool only when its receipt is there. Nothing is ever removed, and a batch takes about 900 bytes: move the
	// file away whenever you like, and a new one is begun. It is for this emitter alone. Empty: only the newest are kept, in Dir.
	Receipts string
	// OnError is told what no caller can be told: refusals, lost connections, damage. It must return soon.
	OnError func(error)
	Log     *slog.Logger // nil: slog.Default

	dial          func(context.Context, string) (net.Conn, error) // for tests
	answerTimeout time.Duration                                   // for tests
}

func (c Config) withDefaults() Config {
	orDefault(&c.SpoolMaxBytes, spool.DefaultMaxBytes)
	orDefault(&c.MaxBatchAge, DefaultMaxBatchAge)
	orDefault(&c.MaxBackoff, DefaultMaxBackoff)
	orDefault(&c.CloseTimeout, DefaultCloseTimeout)
	orDefault(&c.ApprovalWait, DefaultApprovalWait)
	c.ApprovalWait = min(c.ApprovalWait, MaxApprovalWait)
	orDefault(&c.answerTimeout, defaultAnswerTimeout)
	orDefault(&c.Software, "custody edge")
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// FromEnv opens the emitter whose folder CUSTODY_EMITTER names.
func FromEnv(ctx context.Context) (*Emitter, error) {
	dir := os.Getenv(EnvEmitter)
	if dir == "" {
		return nil, fmt.Errorf("open emitter: %s is not set: it names the folder made by custody join", EnvEmitter)
	}
	return Open(ctx, Config{Dir: dir})
}
