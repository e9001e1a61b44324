package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/cases"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/notify"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/ingest"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/object"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/query"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/ca"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// Node is one running process of Custody.
type Node struct {
	cfg    Config
	folder folder
	keys   keys

	authority *ca.CA
	vault     *vault.Vault
	objects   *object.Store
	stream    *stream.Stream
	store     *store.Store
	ledger    *ledger.Ledger
	behind    behind
	writer    *writer
	admission *ingest.Admission
	system    *ingest.System
	door      *ingest.Service
	opened    atomic.Pointer[ingest.Service] // the door, for the ledger, which starts before it
	admin     *ingest.Admin
	query     *query.Service
	brake     *contain.Engine
	rules     *live.Engine
	feed      *ledger.Feed                // of the log's fold and the rules' fold
	verified  *signer.Verified            // by the door and both folds
	way       stream.RightOfWay           // the brake's
	judges    atomic.Pointer[live.Engine] // the rules, for the brake, which starts before them
	retention *ingest.Retention
	cases     *cases.Engine
	notify    *notify.Engine
	server    *grpc.Server
	address   string // where emitters connect
	logs      string // where the logs are served over HTTPS, empty if nowhere

	confirm   confirm
	tiles     tiles
	leafReads leafReads

	failed chan error // why serving ended by itself
	work   sync.WaitGroup

	closing sync.Once
	aborted bool           // stop without waiting and flushing
	undo    []func() error // what Close does, in reverse
}

// keys are the signing keys.
type keys struct {
	system *signer.Key // Custody's own events and receipts
	log    *signer.Key // checkpoints
	time   *signer.Key // the time of checkpoints
}

// Open starts everything and returns when the node serves. The error is ErrInUse if another process serves
// the folder. ctx bounds the start alone.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{cfg: cfg, folder: folder(cfg.DataDir), failed: make(chan error, 3)}
	for _, step := range []func(context.Context) error{
		n.openFolder, n.openKeys, n.openConfirm, n.openObjects, n.openStream, n.openStore, n.openLedger, n.openIngest, n.openContainment, n.openRules, n.openCases, n.openNotify, n.openServer,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open node: %w", err), n.Close())
		}
	}
	n.announce(ctx)
	return n, nil
}

// later adds what Close does. What was opened last is closed first.
func (n *Node) later(undo func() error) { n.undo = append(n.undo, undo) }

// Close stops everything in order. What was acknowledged stays.
func (n *Node) Close() (err error) {
	n.closing.Do(func() {
		for _, undo := range slices.Backward(n.undo) {
			err = errors.Join(err, undo())
		}
	})
	return err
}

// Abort ends the node as a kill would, for tests: calls are cut, and what only memory knows is lost.
func (n *Node) Abort() error {
	n.aborted = true
	return n.Close()
}

// Wait returns when ctx ends, or with the reason why serving has ended by itself.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.failed:
		return err
	}
}

// Address is where emitters and people connect, host:port.
func (n *Node) Address() string { return n.address }

// LogAddress is where the logs are served over HTTPS, host:port, empty if nowhere.
func (n *Node) LogAddress() string { return n.logs }

// Ledger is the node's ledger.
func (n *Node) Ledger() *ledger.Ledger { return n.ledger }

// Store is the node's store.
func (n *Node) Store() *store.Store { return n.store }

// Stream is the node's stream.
func (n *Node) Stream() *stream.Stream { return n.stream }

// System is the node's own emitter.
func (n *Node) System() *ingest.System { return n.system }

func (n *Node) openFolder(context.Context) error {
	lock, err := n.folder.lock()
	if err != nil {
		return err
	}
	n.later(lock.Close)
	return nil
}

func (n *Node) openKeys(context.Context) (err error) {
	if err := n.checkKeysThere(); err != nil {
		return err
	}
	for name, key := range map[string]**signer.Key{"system.pem": &n.keys.system, "log.pem": &n.keys.log, "time.pem": &n.keys.time} {
		if *key, err = signer.LoadOrCreate(n.folder.key(name)); err != nil {
			return err
		}
	}
	if n.authority, err = ca.Open(n.folder.authority(), ca.Options{Hosts: serverHosts(n.cfg.Listen), Now: n.cfg.Now}); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(n.folder.authority(), "ca.crt"), 0o600); err != nil {
		return fmt.Errorf("close authority's folder: %w", err)
	}
	if n.vault, err = vault.OpenDir(n.folder.key("vault")); err != nil {
		return err
	}
	n.later(n.vault.Close)
	return nil
}

func (n *Node) openStream(ctx context.Context) (err error) {
	cfg := stream.Config{
		URL: n.cfg.StreamURL, NKeyFile: n.cfg.NKeyFile, CredsFile: n.cfg.CredsFile, MaxBytes: n.cfg.StreamMaxBytes,
		SystemQuota: n.cfg.SystemQuota, DiskReserve: n.cfg.DiskReserve, NoSync: n.cfg.NoSync, Way: &n.way, Log: n.cfg.Log,
	}
	if cfg.URL == "" {
		cfg.Dir = n.folder.path("stream")
	}
	if dir, embedded := store.EmbeddedDir(n.cfg.StoreDSN); embedded { // a store that runs full holds up the ledger: agents wait before it does
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the store's folder: %w", err)
		}
		cfg.Beside = []string{dir}
	}
	if n.stream, err = stream.Open(ctx, cfg); err != nil {
		return err
	}
	n.later(n.stream.Close)
	return nil
}

// openStore opens the store with the ledger's head, which is 0 until the ledger has read it.
func (n *Node) openStore(ctx context.Context) (err error) {
	head := func() uint64 {
		if n.ledger == nil {
			return 0
		}
		return n.ledger.Committed()
	}
	if n.store, err = store.Open(ctx, n.cfg.StoreDSN, store.Options{Head: head, Now: n.cfg.Now}); err != nil {
		return err
	}
	n.later(n.store.Close)
	return nil
}

// openLedger starts the writer, and the ticks that move an idle stream on.
func (n *Node) openLedger(context.Context) error {
	n.feed, n.verified = ledger.NewFeed(n.stream), new(signer.Verified)
	cfg := ledger.Config{
		Stream: n.stream, Store: ledger.NewStore(n.store), System: n.keys.system.Public(), LogKey: n.keys.log, TimeKey: n.keys.time,
		Now: n.cfg.Now, Log: n.cfg.Log, Way: &n.way, Busy: n.busy, Workers: cores, Confirm: n.confirm.ledger(n.nodes), Feed: n.feed, Verified: n.verified,
	}
	if n.cfg.TuneLedger != nil {
		n.cfg.TuneLedger(&cfg)
	}
	n.ledger = ledger.New(cfg)
	n.behind.node, n.behind.Ledger = n, n.ledger
	n.writer = &writer{ledger: n.ledger, log: n.cfg.Log}
	n.writer.start()
	n.later(func() error { n.writer.stop(); return nil })
	ctx, stop := context.WithCancel(context.Background())
	n.later(func() error { stop(); n.work.Wait(); return nil })
	n.work.Go(func() { n.stream.RunTicks(ctx, tickInterval) })
	return nil
}

// busy reports whether emitters wait at the door. There is none yet while the node starts.
func (n *Node) busy() bool {
	door := n.opened.Load()
	return door != nil && door.Busy()
}

// registries is what admission begins with. When the ledger has halted, for example because its store is
// empty and must be rebuilt, admission begins with the stream itself. If that is empty too, nothing may begin: it would be
// a new operator's log, with a new first admin in the place of the one that the lost stream knows.
func (n *Node) registries(ctx context.Context) (map[event.TenantID]*registry.State, uint64, error) {
	all, upTo, err := n.ledger.Registries(ctx)
	if err != nil && ctx.Err() == nil {
		if state, unknown := n.stream.State(ctx); unknown == nil && state.Last == 0 {
			return nil, 0, err
		}
		n.cfg.Log.WarnContext(ctx, "admission begins with the first message of the stream", slog.Any("error", err))
		return nil, 0, nil
	}
	return all, upTo, err
}

// openIngest opens the door and what stands behind it, with the operator's log at the first start.
func (n *Node) openIngest(ctx context.Context) error {
	registries, upTo, err := n.registries(ctx)
	if err == nil {
		err = n.checkKeysOwn(registries)
	}
	if err != nil {
		return err
	}
	tokens, err := ingest.OpenTokens(n.folder.key("tokens"), n.cfg.Now)
	if err != nil {
		return err
	}
	n.system = ingest.NewSystem(n.keys.system, n.stream, n.cfg.Now)
	n.later(func() error { n.system.Close(); return nil })
	n.admission = ingest.NewAdmission(n.stream, n.keys.system.Public(), registries, upTo, n.cfg.Log)
	n.later(func() error { n.admission.Close(); return nil })
	n.admin = ingest.NewAdmin(ingest.AdminConfig{
		System: n.system, Admission: n.admission, Ledger: n.ledger, Authority: n.authority, Tokens: tokens, Exports: n.exports(),
		LogKey: n.keys.log.Public(), Domain: n.cfg.Domain, Address: n.advertised, Notices: n.notices, Now: n.cfg.Now, Log: n.cfg.Log,
	})
	if err := n.bootstrap(ctx); err != nil {
		return err
	}
	n.door = ingest.NewService(ingest.Config{
		Stream: n.stream, Ledger: &n.behind, Vault: n.vault, Objects: n.objects, System: n.system, Admission: n.admission, Receipts: n.keys.system,
		Way: &n.way, Verified: n.verified, MaxBacklog: n.cfg.MaxBacklog, Workers: cores, Now: n.cfg.Now, Log: n.cfg.Log,
	})
	n.opened.Store(n.door)
	n.later(n.closeDoor)
	n.openRetention()
	n.query = query.New(n.store, logs{n.ledger}, n.vault, n.objects)
	return nil
}

// firstRoles are what the person of the first start may do: everything but approve, which wants somebody
// else. Each is a leaf that can be taken back.
var firstRoles = []eventv1.Role{
	eventv1.Role_ROLE_ADMIN, eventv1.Role_ROLE_AUDITOR, eventv1.Role_ROLE_ANALYST, eventv1.Role_ROLE_RESPONDER, eventv1.Role_ROLE_OPERATOR,
}

func (n *Node) bootstrap(ctx context.Context) error {
	if err := n.admission.CatchUpAll(ctx); err != nil {
		return err
	}
	keep := func(c ca.Client) error { return n.folder.keepPerson(adminName, c, n.authority.CertPEM()) }
	if err := n.admin.Bootstrap(ctx, adminName, keep, firstRoles...); err != nil {
		return fmt.Errorf("open the operator's log: %w", err)
	}
	if err := n.admin.Reconcile(ctx); err != nil {
		return fmt.Errorf("reconcile grants: %w", err)
	}
	return nil
}

func (n *Node) closeDoor() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if n.aborted {
		cancel()
	}
	n.door.Close(ctx)
	return nil
}

// advertised is the address that emitters are told.
func (n *Node) advertised() string {
	if n.cfg.Advertise != "" {
		return n.cfg.Advertise
	}
	return n.address
}

// announce says what was chosen.
func (n *Node) announce(ctx context.Context) {
	state, err := n.stream.State(ctx)
	if err != nil {
		n.cfg.Log.WarnContext(ctx, "stream does not answer", slog.Any("error", err))
	}
	n.cfg.Log.InfoContext(ctx, "custody serves",
		slog.String("data", n.cfg.DataDir), slog.String("address", n.address), slog.Bool("socket_only", n.cfg.SocketOnly),
		slog.String("stream", state.Description), slog.String("store", n.store.Describe()), slog.String("domain", n.cfg.Domain),
		slog.String("system_key", n.keys.system.ID().String()), slog.String("log_key", n.keys.log.ID().String()),
		slog.String("authority", n.authority.Fingerprint()))
}
