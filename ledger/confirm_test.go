package ledger

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp/tsa"
	"github.com/agentcustody/custody/signer/witness"
	"github.com/agentcustody/custody/store"
)

const acmeOrigin = "example.com/custody/acme"

// panel is witnesses that know the log of acme, each behind its own server.
type panel struct {
	s     *site
	lines []string // of the policy
	all   []*witness.Witness
}

func (s *site) panel() *panel { return &panel{s: s} }

// add starts a witness behind what front makes of it.
func (p *panel) add(name string, front func(http.Handler) http.Handler) *witness.Witness {
	p.s.t.Helper()
	w, err := witness.Open(witness.Config{
		Dir: p.s.t.TempDir(), Name: "witness.example/" + name, Logs: []signer.KnownLog{{Origin: acmeOrigin, Key: p.s.log.Public()}},
	})
	p.s.check(err)
	p.s.t.Cleanup(func() { p.s.check(w.Close()) })
	handler := http.Handler(w)
	if front != nil {
		handler = front(w)
	}
	server := httptest.NewServer(handler)
	p.s.t.Cleanup(server.Close)
	p.lines = append(p.lines, "witness "+name+" "+w.VKey()+" "+server.URL)
	p.all = append(p.all, w)
	return w
}

func (p *panel) quorum(last ...string) *signer.Quorum {
	p.s.t.Helper()
	q, err := signer.ParseQuorum([]byte(strings.Join(append(p.lines, last...), "\n") + "\n"))
	p.s.check(err)
	return q
}

// storeLeaves reads leaf hashes of the site's store.
type storeLeaves struct {
	s      *store.Store
	head   func() uint64
	tenant string
}

func (l storeLeaves) ReadLeafHashes(ctx context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	return l.s.WithHead(l.head).LeafHashes(ctx, l.tenant, uint64(begin), uint64(end))
}

// confirming is a site's configuration with somebody who confirms.
func (s *site) confirming(q *signer.Quorum, log *slog.Logger) Config {
	cfg := s.config()
	cfg.Log = log
	nodes := func(tenant string) chain.NodeReader {
		return chain.NewTileNodes(storeLeaves{s.store, func() uint64 { return 1 << 62 }, tenant})
	}
	cfg.Confirm = &Confirm{Quorum: q, Nodes: nodes, Every: 10 * time.Millisecond, pause: func(int) time.Duration { return time.Millisecond }}
	return cfg
}

// confirmed waits for a checkpoint of a size with so many cosignatures.
func (s *site) confirmed(r *running, size uint64, witnesses uint16) (c store.Checkpoint) {
	s.t.Helper()
	s.eventually(func() bool {
		var err error
		c, err = r.LastConfirmed(s.t.Context(), "acme")
		return err == nil && c.Size == size && c.Witnesses >= witnesses
	})
	return c
}

func refusing(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

// Two of three witnesses are enough; the third is down, and nothing waits for it.
func TestConfirmedByAQuorum(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	p := s.panel()
	p.add("one", nil)
	p.add("two", nil)
	p.add("three", refusing)
	q := p.quorum("group all-of-them 2 one two three", "quorum all-of-them")
	r := s.run(s.confirming(q, nil))
	for range 3 {
		a.send(200)
		s.publish()
		s.catchUp(r)
		h, _ := r.Head("acme")
		c := s.confirmed(r, h.Size, 2)
		opened, err := signer.OpenCheckpoint(c.Note, acmeOrigin, s.log.Public(), q.Cosigners()...)
		s.check(err)
		if opened.Root != h.Root || !q.Met(cosigned(opened.Cosignatures)) || len(opened.Cosignatures) != 2 {
			t.Errorf("confirmed %+v of head %+v", opened, h)
		}
	}
	s.expectClean(r.Ledger)
	s.check(r.stop())
	again := s.run(s.confirming(q, nil)) // the witnesses remember, the ledger does not
	a.send(1)
	s.publish()
	s.catchUp(again)
	h, _ := again.Head("acme")
	s.confirmed(again, h.Size, 2)
}

// A log that does not grow is confirmed again, but not by fewer than before.
func TestAnIdleLogIsConfirmedAgain(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	p, down := s.panel(), &atomic.Bool{}
	p.add("one", nil)
	p.add("two", func(well http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			well.ServeHTTP(w, r)
		})
	})
	cfg := s.confirming(p.quorum("group both all one two", "quorum both"), nil)
	cfg.Confirm.Idle = 20 * time.Millisecond
	r := s.run(cfg)
	s.catchUp(r)
	h, _ := r.Head("acme")
	first := s.confirmed(r, h.Size, 2)
	s.eventually(func() bool { return s.confirmed(r, h.Size, 2).MadeAt.After(first.MadeAt) })
	down.Store(true)
	time.Sleep(10 * cfg.Confirm.Idle) // in which only one of them can answer
	if c, err := r.LastConfirmed(t.Context(), "acme"); err != nil || c.Witnesses != 2 || c.Size != h.Size {
		t.Errorf("confirmed by %d, %v, want both", c.Witnesses, err)
	}
}

// An export asks at once, and does not wait for those who do not answer for long.
func TestConfirmCheckpoint(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	p := s.panel()
	p.add("one", nil)
	cfg := s.confirming(p.quorum("quorum one"), nil)
	cfg.Confirm.Every = time.Hour
	var stamped atomic.Int64
	cfg.Confirm.Stamp = func(_ context.Context, message []byte) ([]byte, error) {
		stamped.Add(1)
		if bytes.Count(message, []byte("— ")) != 2 {
			t.Errorf("stamped before it was cosigned: %q", message)
		}
		return []byte("token"), nil
	}
	r := s.run(cfg)
	s.catchUp(r)
	h, _ := r.Head("acme")
	s.eventually(func() bool { c, err := r.LatestCheckpoint(t.Context(), "acme"); return err == nil && c.Size == h.Size })
	for range 2 {
		c, err := r.ConfirmCheckpoint(t.Context(), "acme")
		if err != nil || c.Size != h.Size || c.Witnesses != 1 || string(c.Token) != "token" {
			t.Errorf("confirmed %+v, %v", c, err)
		}
	}
	if n := stamped.Load(); n != 1 {
		t.Errorf("stamped %d times", n)
	}
	if _, err := r.ConfirmCheckpoint(t.Context(), "globex"); !errors.Is(err, ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}

// Without anybody to ask, or when nobody answers, an export gets the checkpoint that there is.
func TestNobodyConfirms(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	p := s.panel()
	p.add("one", refusing)
	p.add("two", func(h http.Handler) http.Handler { // answers for another log
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("— witness.example/two AAAA\n")) })
	})
	cfg := s.confirming(p.quorum("group g all one two", "quorum g"), nil)
	cfg.Confirm.Stamp = func(context.Context, []byte) ([]byte, error) { return nil, errors.New("closed on Sundays") }
	r := s.run(cfg)
	s.catchUp(r)
	s.eventually(func() bool {
		c, err := r.ConfirmCheckpoint(t.Context(), "acme")
		return err == nil && !c.Confirmed()
	})
	if _, err := r.LastConfirmed(t.Context(), "acme"); !errors.Is(err, ErrNoTenant) {
		t.Errorf("confirmed: %v", err)
	}
	s.expectClean(r.Ledger)
}

// A witness that hangs holds nothing up.
func TestAHangingWitness(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	s.publish()
	p := s.panel()
	asked, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	p.add("one", func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { once(); <-release })
	})
	t.Cleanup(func() { close(release) })
	r := s.run(s.confirming(p.quorum("quorum one"), nil))
	<-asked
	a.send(5)
	s.publish()
	s.catchUp(r)
	h, _ := r.Head("acme")
	s.eventually(func() bool { c, err := r.LatestCheckpoint(t.Context(), "acme"); return err == nil && c.Size == h.Size })
	s.check(r.stop())
}

// lockedBuffer is what a logger writes to while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

// Whoever shows the witness another history than before, by a split view or by rolling the log back, gets no cosignature, and it is
// said aloud.
func TestTwoHistoriesAreSaidAloud(t *testing.T) {
	for what, size := range map[string]chain.Index{"another history": 1, "rolled back": 1000} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, 1)
			s.tenant("acme")
			s.agent("acme", "support-1")
			p := s.panel()
			w := p.add("one", nil)
			log, err := signer.NoteSigner(s.log, acmeOrigin)
			s.check(err)
			note, err := signer.SignCheckpoint(chain.Checkpoint{Origin: acmeOrigin, Size: size, Root: chain.OriginHash("other")}, log)
			s.check(err)
			_, err = w.Add(&witness.Request{Checkpoint: note}) // what the operator has shown to somebody else
			s.check(err)
			s.publish()
			said := &lockedBuffer{}
			r := s.run(s.confirming(p.quorum("quorum one"), slog.New(slog.NewTextHandler(said, nil))))
			s.catchUp(r)
			s.eventually(func() bool { return said.contains("a witness has seen another history of this log") })
			if c, err := r.ConfirmCheckpoint(t.Context(), "acme"); err != nil || c.Confirmed() {
				t.Errorf("confirmed %+v, %v", c, err)
			}
		})
	}
}

// A check names an edit of what was kept of those who confirm.
func TestCheckOfConfirmed(t *testing.T) {
	for column, value := range map[string]string{"witnesses": "2", "token": "concat(token, 'x')"} {
		t.Run(column, func(t *testing.T) {
			s := newSite(t, 1)
			s.tenant("acme")
			s.publish()
			authority, err := tsa.Open(t.TempDir(), nil)
			s.check(err)
			p := s.panel()
			p.add("one", nil)
			cfg := s.confirming(p.quorum("quorum one"), nil)
			cfg.Confirm.Stamp = authority.Stamp
			r := s.run(cfg)
			s.catchUp(r)
			h, _ := r.Head("acme")
			s.confirmed(r, h.Size, 1)
			s.expectClean(r.Ledger)
			s.exec("ALTER TABLE ${db}.checkpoints UPDATE " + column + " = " + value + " WHERE witnesses > 0 SETTINGS mutations_sync = 2")
			var problems []store.Problem
			_, err = r.Check(t.Context(), nil, func(p Progress) {
				if p.Problem != nil {
					problems = append(problems, *p.Problem)
				}
			})
			s.check(err)
			if len(problems) != 1 || problems[0].Table != "checkpoints" || problems[0].Column != column {
				t.Errorf("%+v", problems)
			}
		})
	}
}
