package torture

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/signer"
)

// rival is a second writer on the log of a running system.
type rival struct {
	*ledger.Ledger
	stop  context.CancelFunc
	ended chan error
}

// rival starts a second writer, as another process on the same stream and store would be.
func (l *local) rival() *rival {
	l.t.Helper()
	system, err := signer.LoadOrCreate(filepath.Join(l.DataDir(), "keys", "system.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	r := &rival{Ledger: ledger.New(ledger.Config{
		Stream: l.Node().Stream(), Store: ledger.NewStore(l.Node().Store()), System: system.Public(),
	}), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx) }()
	r.stop = func() {
		stop()
		if err := <-r.ended; err != nil {
			l.t.Errorf("the rival ended with %v", err)
		}
	}
	return r
}

// catchUp waits until the rival has committed what is in the stream.
func (l *local) catchUp(r *rival) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	state, err := l.Node().Stream().State(ctx)
	if err == nil {
		err = r.WaitCommitted(ctx, state.Last)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// TestTwoWriters: the one that comes second wins the log, the first stops and says why. Events keep coming
// meanwhile, and are there once.
func TestTwoWriters(t *testing.T) {
	l := newLocal(t)
	l.open()
	l.record(50)
	l.flush()
	r := l.rival()
	l.recordUntil(func() bool { return strings.Contains(l.status().GetLedgerError(), ledger.ErrFenced.Error()) })
	l.flush()
	l.catchUp(r)
	r.stop()
	if halted := l.Node().Ledger().Status().Halted; !errors.Is(halted, ledger.ErrFenced) {
		t.Errorf("the first writer ended with %v", halted)
	}
	l.Restart()
	l.record(50)
	l.audited()
}

// TestStaleWritersLateInsert holds a writer up before its insert until another has committed the same block and
// gone on: what it inserts then counts once, and it stops.
func TestStaleWritersLateInsert(t *testing.T) {
	g := new(gate)
	l := newLocal(t, gateStore(g))
	t.Cleanup(g.open)
	l.open()
	l.record(50)
	l.flush()
	g.close()
	l.record(50)
	l.flush()
	await(t, func() bool { return l.status().GetBacklog() > 0 })
	r := l.rival()
	l.catchUp(r)
	l.record(50)
	l.flush()
	l.catchUp(r)
	g.open()
	await(t, func() bool { return errors.Is(l.Node().Ledger().Status().Halted, ledger.ErrFenced) })
	r.stop()
	l.Restart()
	l.audited()
}

// TestSecondServerOnOneFolder: the second process names the first and ends; the first serves on. When the first is
// killed, nothing stands in the way of the next.
func TestSecondServerOnOneFolder(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.start()
	s.populate(1)
	s.emitters[0].start()
	first := s.server
	s.launch()
	second := s.server
	s.server = first
	select {
	case <-second.ended:
	case <-time.After(patience):
		t.Fatal("the second server does not end")
	}
	log, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil || second.err == nil || !strings.Contains(string(log), "another process serves this data folder") {
		t.Errorf("the second server ended with %v and said %s", second.err, log)
	}
	s.invariant()
	s.server.kill()
	s.start()
	s.settled()
}
