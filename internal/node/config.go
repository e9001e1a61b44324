package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/ingest"
	"github.com/agentcustody/custody/ledger"
)

// Defaults.
const (
	// DefaultListen is loopback: nothing is open to a network that nobody asked for.
	DefaultListen = "127.0.0.1:7443"
	// DefaultDomain begins the names of logs until an operator gives their own.
	DefaultDomain = "localhost"
	// tickInterval is how often an idle stream is moved on: deadlines are counted in minutes.
	tickInterval = time.Minute
	// stopPatience is how long a stop waits for calls that are on their way.
	stopPatience = 5 * time.Second
)

// Config says what a node is made of. Only DataDir must be set.
type Config struct {
	DataDir string // made if it does not exist

	Listen     string // host:port for emitters and people; port 0 chooses one; empty is DefaultListen
	Advertise  string // host:port that emitters are told; empty is where the node listens
	SocketOnly bool   // serve the local socket alone

	StoreDSN  string // chdb:///path, clickhouse://… or https://…; empty is the embedded engine in DataDir; secret
	StreamURL string // nats://…; empty is an embedded JetStream in DataDir
	NKeyFile  string // seed for StreamURL; secret
	CredsFile string // user credentials for StreamURL; secret

	LogListen string      // host:port that serves the logs as tlog-tiles over HTTPS; empty is nowhere
	Confirm   *Confirmers // who confirms checkpoints, also from now on; nil is as the last time

	Domain string // operator domain in the names of logs; empty is DefaultDomain

	MaxBacklog     uint64 // events that the ledger may be behind; 0 is ingest.MaxBacklog
	StreamMaxBytes int64  // limit of the stream; 0 is stream.DefaultMaxBytes
	SystemQuota    int64  // bytes of StreamMaxBytes for Custody's own events; 0 is stream.DefaultSystemQuota
	DiskReserve    int64  // free bytes below which emitters are pushed back; 0 is the default, negative is none
	NoSync         bool   // leave syncing to the operating system; only for tests that measure something else

	ModerateNeedsLease bool // acts of moderate consequence need a lease too
	ApproveHigh        bool // every act of high consequence needs a person's approval

	RulesOff bool // no rule is looked at; each tenant's log says from when on

	Connectors string // file of connectors that revoke; empty is connectors.yaml in DataDir, if there is one
	Notify     string // file of receivers of notifications; empty is notify.yaml in DataDir, if there is one

	TuneLedger      func(*ledger.Config)          // for tests of faults: changes what the ledger is made of; may be nil
	TuneContainment func(*contain.Config)         // the same for the brake
	TuneRules       func(*live.Config)            // the same for the rules
	TuneRetention   func(*ingest.RetentionConfig) // the same for erasures

	Version string           // shown in the status
	Now     func() time.Time // nil is time.Now
	Log     *slog.Logger     // nil discards
}

func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("data folder must be set")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("data folder: %w", err)
	}
	c.DataDir = dir
	setDefault(&c.Listen, DefaultListen)
	setDefault(&c.Domain, DefaultDomain)
	setDefault(&c.StoreDSN, "chdb://"+filepath.Join(dir, "store"))
	setDefault(&c.MaxBacklog, ingest.MaxBacklog)
	setDefault(&c.Version, "development")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c Config) check() error {
	if _, _, err := net.SplitHostPort(c.LogListen); err != nil && c.LogListen != "" {
		return fmt.Errorf("address of the logs: %w", err)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if err := chain.CheckOrigin(c.Domain + "/custody/0"); err != nil {
		return fmt.Errorf("domain %q: must be a host name: %w", c.Domain, err)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
