package torture

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// site is a server and its emitters, all of them processes that can be killed.
type site struct {
	t        testing.TB
	dir      string // holds every log and diary
	agents   string // holds the emitters' folders
	config   serveConfig
	wrapper  []string // words before the server's, such as strace
	server   *child
	emitters []*emitter
}

// emitter is one agent: its folder, and the process that records with it, if there is one.
type emitter struct {
	site   *site
	dir    string
	name   string
	starts int
	size   int             // bytes of sealed content, about
	lost   map[string]bool // events that a power cut took from the spool before they had a receipt

	wrapper []string // words before the process's, such as strace
	child   *child
}

// newSite prepares a server on a port that stays the same, with everything in one folder. Nothing runs yet.
func newSite(t testing.TB, dir string, change ...func(*serveConfig)) *site {
	t.Helper()
	s := &site{t: t, dir: dir, agents: dir, config: serveConfig{Data: filepath.Join(dir, "data"), Listen: freePort(t), DiskReserve: -1}}
	for _, c := range change {
		c(&s.config)
	}
	t.Cleanup(func() { showLogs(t, dir) })
	return s
}

// freePort is a port of loopback that nobody uses now.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// launch starts the server and does not wait for it.
func (s *site) launch() {
	s.t.Helper()
	s.server = spawn(s.t, filepath.Join(s.dir, "server.log"), roleServe, s.config, s.wrapper...)
}

// await waits until the server serves.
func (s *site) await() {
	s.t.Helper()
	if err := s.server.hear(new(ready)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() {
	s.t.Helper()
	s.launch()
	s.await()
}

// populate makes the tenant, and as many instances with an emitter each.
func (s *site) populate(emitters int) {
	s.t.Helper()
	ctx := s.t.Context()
	conn, err := node.Dial(ctx, node.DialConfig{DataDir: s.config.Data})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	admin := apiv1.NewAdminServiceClient(conn)
	if _, err := admin.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: tenant}); err != nil {
		s.t.Fatal(err)
	}
	for i := range emitters {
		if err := s.enrol(ctx, admin, fmt.Sprint("agent-", i+1)); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) enrol(ctx context.Context, admin apiv1.AdminServiceClient, name string) error {
	_, err := admin.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: tenant, Instance: name, Permissions: []*eventv1.Permission{
		{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW},
	}})
	if err != nil {
		return err
	}
	ticket, err := admin.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: name, Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT,
	})
	if err != nil {
		return err
	}
	e := &emitter{site: s, dir: filepath.Join(s.agents, name), name: name, size: 100, lost: map[string]bool{}}
	s.emitters = append(s.emitters, e)
	_, err = edge.Join(ctx, e.dir, ticket.GetToken(), ticket.GetAddress(), ticket.GetCaPem())
	return err
}

func (e *emitter) diary() string { return filepath.Join(e.site.dir, e.name+".diary") }

// start starts the recording process, unless it runs.
func (e *emitter) start() {
	e.site.t.Helper()
	if e.child != nil && e.child.alive() {
		return
	}
	if e.child != nil && !e.child.killed.Load() && e.child.err != nil {
		e.site.t.Fatalf("%s ended by itself: %v", e.name, e.child.err)
	}
	e.starts++
	e.child = spawn(e.site.t, filepath.Join(e.site.dir, e.name+".log"), roleEmit, emitConfig{
		Dir: e.dir, Diary: e.diary(), Start: e.starts, Seed: rand.Uint64(), Size: e.size,
	}, e.wrapper...)
}

func (e *emitter) kill() {
	if e.child != nil {
		e.child.kill()
	}
}

// drain lets every emitter deliver the rest and end.
func (s *site) drain() {
	s.t.Helper()
	for _, e := range s.emitters {
		e.start()
		if !e.child.finish("drain") {
			s.t.Fatalf("%s does not get rid of its events; the server says %v", e.name, s.status())
		}
	}
}

// status asks the server how it is.
func (s *site) status() *apiv1.StatusResponse {
	s.t.Helper()
	conn, err := node.Dial(s.t.Context(), node.DialConfig{DataDir: s.config.Data})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	r, err := apiv1.NewLedgerServiceClient(conn).Status(s.t.Context(), &apiv1.StatusRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// stop ends the server in order.
func (s *site) stop() {
	s.t.Helper()
	if !s.server.finish("stop") {
		s.t.Fatal("the server does not stop")
	}
}

// claims are what an emitter was promised, or has on its disk, at one moment.
type claims struct {
	promises
	receipts []string        // batch digests
	spooled  map[string]bool // events without a receipt
	lost     map[string]bool // events that a power cut took
}

// claims reads diary, receipts and spool, in this order: what leaves the spool meanwhile is in the log.
func (e *emitter) claims() claims {
	e.site.t.Helper()
	p, err := readDiary(e.diary())
	c := claims{promises: p, lost: e.lost}
	if err == nil {
		c.receipts, err = readReceipts(e.dir)
	}
	if err == nil {
		c.spooled, err = readSpool(e.site.t, e.dir)
	}
	if err != nil {
		e.site.t.Fatalf("%s: %v", e.name, err)
	}
	return c
}

// readReceipts returns the batches of all receipts that are kept.
func readReceipts(dir string) (digests []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "receipts", "*.jsonl"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if r, err := signer.ParseKeptReceipt([]byte(line)); err == nil {
				digest := event.BatchDigest(r.Statement)
				digests = append(digests, hex.EncodeToString(digest[:]))
			}
		}
	}
	return digests, err
}

// readSpool returns the ids of the events that wait in a spool. Its owner may be writing: a copy is read.
func readSpool(t testing.TB, dir string) (map[string]bool, error) {
	copied := filepath.Join(t.TempDir(), "spool")
	if err := copyTree(filepath.Join(dir, "spool"), copied); err != nil {
		return nil, err
	}
	s, err := spool.Open(copied, spool.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found := make(map[string]bool)
	for _, q := range s.Queues() {
		if err := readQueue(q, found); err != nil {
			return nil, err
		}
	}
	return found, os.RemoveAll(copied)
}

func readQueue(q *spool.Queue, found map[string]bool) error {
	var b spool.Batch
	state := q.State()
	for next := state.Acked.Seq + 1; next <= state.LastSeq(); next += spool.Seq(len(b.Entries)) {
		if err := q.Load(next, event.MaxBatchEvents, &b); err != nil {
			return err
		}
		if len(b.Entries) == 0 {
			return fmt.Errorf("spool %s: nothing at %d of %d", q.Name(), next, state.LastSeq())
		}
		for _, entry := range b.Entries {
			e, err := event.Parse(entry.Event)
			if err != nil {
				return err
			}
			found[hex.EncodeToString(e.GetId())] = true
		}
	}
	return nil
}

// copyTree copies a folder. Files that vanish meanwhile are left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		content, err := os.ReadFile(path) //nolint:gosec // a folder of our own
		if errors.Is(err, fs.ErrNotExist) || !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, 0o600)
	})
}

// invariant holds the log to everything that was promised; see the package comment. It returns the audit. The
// emitters stand still meanwhile, so that there is not more and more to audit.
func (s *site) invariant() audit {
	s.t.Helper()
	s.freeze(syscall.SIGSTOP)
	defer s.freeze(syscall.SIGCONT)
	all := make([]claims, len(s.emitters))
	for i, e := range s.emitters {
		all[i] = e.claims()
	}
	var a audit
	s.server.ask("audit", &a)
	s.judge(&a)
	in := a.positions()
	for i, e := range s.emitters {
		for _, wrong := range all[i].broken(in, &a) {
			s.t.Errorf("%s: %s", e.name, wrong)
		}
		if _, err := os.Stat(filepath.Join(e.dir, "refused")); err == nil {
			s.t.Errorf("%s: events were refused for good", e.name)
		}
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
	return a
}

func (s *site) freeze(signal syscall.Signal) {
	for _, e := range s.emitters {
		if e.child != nil && e.child.alive() {
			e.child.signal(signal)
		}
	}
}

// judge holds the log to itself.
func (s *site) judge(a *audit) {
	s.t.Helper()
	if a.Failed != "" {
		s.t.Fatalf("no audit: %s", a.Failed)
	}
	for _, wrong := range slices.Concat(a.Problems, a.wrongNumbers(), a.wrongOrder()) {
		s.t.Error(wrong)
	}
	if a.Rows != a.IDs || a.Rows != a.Leaves {
		s.t.Errorf("the store has %d leaves, %d events with %d ids", a.Leaves, a.Rows, a.IDs)
	}
}

// broken says which promises the log does not keep.
func (c *claims) broken(in map[string]int, a *audit) (wrong []string) {
	for i, r := range c.recorded {
		switch n := in[r.ID]; {
		case c.lost[r.ID]:
		case n > 1:
			wrong = append(wrong, fmt.Sprintf("event %s is there %d times", r.Note, n))
		case n == 0 && i < c.flushed:
			wrong = append(wrong, fmt.Sprintf("event %s has a receipt and is not in the log", r.Note))
		case n == 0 && !c.spooled[r.ID]:
			wrong = append(wrong, fmt.Sprintf("event %s was recorded and is neither in the log nor in the spool", r.Note))
		}
	}
	held := make(map[string]int)
	for _, b := range a.Batches {
		held[b.Digest]++
	}
	for _, digest := range c.receipts {
		if held[digest] != 1 {
			wrong = append(wrong, fmt.Sprintf("batch %.8s has a receipt and is in the log %d times", digest, held[digest]))
		}
	}
	return wrong
}

// wrongOrder says where what one goroutine recorded does not stand in its order. The notes of an emitter's
// recorder count from 1.
func (a *audit) wrongOrder() (wrong []string) {
	next := make(map[string]int)
	for _, b := range a.Batches {
		for _, e := range b.Events {
			if e.Note == "" {
				continue
			}
			var start, worker, n int
			if _, err := fmt.Sscanf(e.Note, "%d/%d/%d", &start, &worker, &n); err != nil {
				continue
			}
			recorder := fmt.Sprint(b.Key, " ", start, "/", worker)
			if next[recorder]++; n != next[recorder] {
				wrong = append(wrong, fmt.Sprintf("message %d: event %s comes where %d should", b.StreamSeq, e.Note, next[recorder]))
				next[recorder] = n
			}
		}
	}
	return wrong
}

// settled drains everything, and expects every recorded event in the log and nothing in a spool.
func (s *site) settled() audit {
	s.t.Helper()
	s.drain()
	a := s.invariant()
	in := a.positions()
	for _, e := range s.emitters {
		c := e.claims()
		if len(c.spooled) > 0 || c.flushed != len(c.recorded) {
			s.t.Errorf("%s: %d of %d events have receipts, %d are spooled", e.name, c.flushed, len(c.recorded), len(c.spooled))
		}
		for _, r := range c.recorded {
			if in[r.ID] != 1 && !c.lost[r.ID] {
				s.t.Errorf("%s: event %s is there %d times", e.name, r.Note, in[r.ID])
			}
		}
	}
	return a
}

// promised is for messages: how much was promised.
func (s *site) promised() string {
	var recorded, flushed int
	for _, e := range s.emitters {
		p, err := readDiary(e.diary())
		if err != nil {
			s.t.Fatal(err)
		}
		recorded, flushed = recorded+len(p.recorded), flushed+p.flushed
	}
	return fmt.Sprintf("%d events recorded, %d under receipts", recorded, flushed)
}
