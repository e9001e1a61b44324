package ingest

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// Limits of the door.
const (
	// MaxBacklog is how many events the ledger may be behind before emitters are pushed back: some minutes
	// of folding, so that a receipt's merge deadline is never in danger.
	MaxBacklog = 3_000_000
	// MaxMessage is the largest gRPC message: event.MaxBatch and room to refuse a batch that is a little
	// over it with a reason.
	MaxMessage = event.MaxBatch + 256<<10
	// MergeDelay is what a receipt promises: the time until the batch has its leaves. It is as long as that
	// of Certificate Transparency, so that a person has time to repair a ledger that halted.
	MergeDelay = 24 * time.Hour
	// HeartbeatInterval is how often an idle emitter says that nothing is missing.
	HeartbeatInterval = time.Minute

	// handshakeTimeout bounds the time from the first byte to the proof.
	handshakeTimeout = 10 * time.Second
	// publishTimeout bounds the work on one batch after its checks: it goes on when the sender is gone.
	publishTimeout = 15 * time.Second
	// pushbackDelay is how long a sender waits after a pushback.
	pushbackDelay = time.Second
)

// Ledger is what ingest needs of the ledger. It answers from memory; only WaitCommitted takes time.
type Ledger interface {
	// Backlog is the number of events in the stream that are not committed yet.
	Backlog() uint64
	// LastLeaf returns the newest committed leaf of a tenant's log; ok is false for a log without leaves.
	LastLeaf(tenant event.TenantID) (index uint64, hash [32]byte, ok bool)
	// Registry returns a tenant's registry at the committed head; the caller may change it.
	Registry(ctx context.Context, tenant event.TenantID) (*registry.State, error)
	// WaitCommitted returns when the message at a stream sequence is committed, or with the error of ctx.
	WaitCommitted(ctx context.Context, streamSeq uint64) error
}

// Config is what the door is made of. Every field must be set unless it says otherwise.
type Config struct {
	Stream    Publisher
	Ledger    Ledger
	Vault     Sealer
	System    *System
	Admission *Admission
	Receipts  signer.Signer // signs receipts, under the name of the tenant's origin
	Objects   Objects       // nil takes no sealed values of more than event.MaxSealedInline bytes

	Way        *stream.RightOfWay // emitters give it; nil: nobody has it
	Verified   *signer.Verified   // signatures that this process has found good; nil remembers none
	MaxBacklog uint64             // events; 0 is MaxBacklog
	Workers    int                // batches that are checked at the same time; 0 is one for each processor
	Now        func() time.Time   // nil is time.Now
	Log        *slog.Logger       // nil discards
}

func (c Config) withDefaults() Config {
	if c.MaxBacklog == 0 {
		c.MaxBacklog = MaxBacklog
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Service implements IngestService.
type Service struct {
	apiv1.UnimplementedIngestServiceServer

	cfg     Config
	workers chan *worker // those that are free
	waiting atomic.Int64 // batches that wait for one
	tallies *tallies
	sealed  *findings
	uploads uploads

	messages messages
	flight   *flight

	drained  chan struct{} // closed by Drain
	drain    sync.Once
	accepted counters
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// counters of what was let in, since the process started.
type counters struct{ batches, events, duplicates, late, held, streams, objects atomic.Uint64 }

// NewService starts the door's records of refusals. Close ends them.
func NewService(cfg Config) *Service {
	cfg = cfg.withDefaults()
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{cfg: cfg, workers: newWorkers(cfg.Workers), tallies: newTallies(cfg.Now, cfg.Log), sealed: newFindings(cfg.Now), flight: newFlight(), drained: make(chan struct{}), stop: stop}
	s.done.Go(func() { s.tallies.run(ctx, cfg.System) })
	return s
}

// Busy reports whether emitters wait for a processor: what can be done later should be.
func (s *Service) Busy() bool { return s.waiting.Load() > 0 }

// Drain lets no further batch in: streams end after the answer that is on its way.
func (s *Service) Drain() { s.drain.Do(func() { close(s.drained) }) }

// Close records what was refused and not recorded yet. It is called after the last stream has ended.
func (s *Service) Close(ctx context.Context) {
	s.stop()
	s.done.Wait()
	s.tallies.flush(ctx, s.cfg.System, true)
}

// Accepted is the number of events let in since the process started.
func (s *Service) Accepted() uint64 { return s.accepted.events.Load() }

// Counters returns counts since the process started, by name: "ingest_batches", "ingest_refused_gap", ….
func (s *Service) Counters() map[string]uint64 {
	counts := map[string]uint64{
		"ingest_batches":    s.accepted.batches.Load(),
		"ingest_events":     s.accepted.events.Load(),
		"ingest_duplicates": s.accepted.duplicates.Load(),
		"ingest_late":       s.accepted.late.Load(),
		"ingest_held":       s.accepted.held.Load(),
		"ingest_streams":    s.accepted.streams.Load(),
		"ingest_objects":    s.accepted.objects.Load(),
	}
	for reason, n := range s.tallies.counts() {
		counts["ingest_refused_"+reason] = n
	}
	return counts
}
