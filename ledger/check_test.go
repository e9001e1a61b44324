package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// story is a stream with a known place for everything: acme's leaf 0 is the genesis, 1 and 2 enrol support-1,
// 3 to 7 are its first batch with an event held at 5, 8 is a malformed message, 9 to 11 the second batch, and
// 12 is an equivocation.
func story(t *testing.T) (*site, *running) {
	s := newSite(t, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	a.send(5, func(d *draft) { d.held = []int{2} })
	s.add(stream.LateSubject("acme"), []byte("garbage"))
	fork := *a
	a.send(3)
	fork.send(2)
	s.tenant("globex")
	s.agent("globex", "support-1").send(4)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.eventually(func() bool {
		_, err := r.LatestCheckpoint(t.Context(), "acme")
		return err == nil
	})
	s.expectClean(r.Ledger)
	return s, r
}

// TestCheckNamesWhatWasChanged changes one value each, checks, expects it named, and sets it back. That every
// column is compared is shown by the store's own tests; these are the changes that the fold has to get past.
func TestCheckNamesWhatWasChanged(t *testing.T) {
	s, r := story(t)
	idx := func(n int) string { return fmt.Sprintf("tenant = 'acme' AND idx = %d", n) }
	tests := []struct {
		table, where  string
		column, value string // value is SQL
		want          string // table column of a problem that must be named
		only          bool   // and nothing else
	}{
		{"events", idx(3), "tool", "'other'", "events tool", true},
		{"events", idx(3), "verdict", "'late'", "events verdict", true},
		{"events", idx(3), "bytes", "concat(substring(bytes, 1, 40), 'X', substring(bytes, 42))", "events bytes", false},
		{"events", idx(8), "bytes", "'gerbage'", "events bytes", false},
		{"events", idx(12), "bytes", "concat(bytes, 'X')", "events bytes", false},
		{"events", idx(3), "fingerprints", "['xxxxxxxx']", "events fingerprints", true},
		{"leaves", idx(3), "leaf", "concat(substring(leaf, 1, 100), 'X', substring(leaf, 102))", "leaves leaf", true},
		{"leaves", idx(12), "leaf", "concat(substring(leaf, 1, 182), 'X')", "leaves leaf", true},
		{"batches", idx(3), "message_time", "message_time + toIntervalSecond(5)", "batches message_time", false},
		{"batches", idx(12), "message_time", "message_time + toIntervalSecond(5)", "batches message_time", false},
		{"batches", idx(3), "message_digest", "toFixedString(repeat('x', 32), 32)", "batches message_digest", true},
		{"batches", idx(3), "stream_digest", "toFixedString(repeat('x', 32), 32)", "batches stream_digest", false},
		{"batches", idx(3), "signature", "repeat('x', 64)", "batches signature", false},
		{"batches", idx(3), "statement", "concat(statement, 'x')", "batches statement", true},
		{"batches", idx(3), "statement", "''", "batches statement", true},
		{"held", idx(5), "ciphertext", "concat(ciphertext, 'x')", "batches message_digest", false},
		{"heads", "tenant = 'acme'", "root", "toFixedString(repeat('x', 32), 32)", "heads root", true},
		{"fold_state", "tenant = 'acme' AND key = 'instance/support-1'", "value", "'{}'", "fold_state value", true},
		{"checkpoints", "tenant = 'acme'", "note", "replaceOne(note, '\\n13\\n', '\\n12\\n')", "checkpoints note", true},
	}
	for _, test := range tests {
		t.Run(test.table+" "+test.column, func(t *testing.T) {
			restore := s.tamper(test.table, test.where, test.column, test.value)
			defer restore()
			if err := s.quick(r.Ledger, windowEvents); !errors.Is(err, errDoubt) {
				t.Errorf("the quick way: got %v, want errDoubt", err)
			}
			problems, _ := s.checkAll(r.Ledger)
			expectProblem(t, problems, test.want, test.only)
		})
	}
	s.expectClean(r.Ledger)
}

// quick checks everything in windows of so many events.
func (s *site) quick(l *Ledger, events uint64) error {
	head, err := l.readHead(s.t.Context())
	s.check(err)
	c := l.checker(head, time.Now(), nil, nil)
	c.quickly, c.most = true, events
	return c.run(s.t.Context(), c.quick)
}

// TestCheckReadsAGoodStoreOnce: nothing of it gives rise to a doubt, wherever windows end.
func TestCheckReadsAGoodStoreOnce(t *testing.T) {
	s := newSite(t, 4)
	s.chaos(150)
	s.publish()
	r := s.run(s.config())
	for range 3 {
		s.catchUp(r)
		s.chaosMore(20)
	}
	s.catchUp(r)
	for _, events := range []uint64{windowEvents, 100, 1} {
		if err := s.quick(r.Ledger, events); err != nil {
			t.Errorf("windows of %d events: %v", events, err)
		}
	}
}

// TestCheckFindsWhatStandsBehindTheLastBlock adds a row for a message that has no leaves.
func TestCheckFindsWhatStandsBehindTheLastBlock(t *testing.T) {
	s, r := story(t)
	s.tick()
	s.publish()
	s.catchUp(r)
	s.exec("INSERT INTO ${db}.events SELECT * REPLACE (99 AS idx, stream_seq + 1 AS stream_seq) FROM (SELECT * FROM ${db}.events ORDER BY stream_seq DESC LIMIT 1)")
	problems, _ := s.checkAll(r.Ledger)
	expectProblem(t, problems, "events ", true)
}

// tamper replaces rows by changed ones, behind the back of everything, and returns what sets them back.
func (s *site) tamper(table, where, column, value string) (restore func()) {
	s.exec("DROP TABLE IF EXISTS ${db}.saved")
	s.exec("CREATE TABLE ${db}.saved AS ${db}." + table + " ENGINE = Memory")
	s.exec("INSERT INTO ${db}.saved SELECT * FROM ${db}." + table + " WHERE " + where)
	remove := func() { s.exec("DELETE FROM ${db}." + table + " WHERE " + where) }
	remove()
	s.exec(fmt.Sprintf("INSERT INTO ${db}.%s SELECT * REPLACE (%s AS %s) FROM ${db}.saved", table, value, column))
	return func() {
		remove()
		s.exec("INSERT INTO ${db}." + table + " SELECT * FROM ${db}.saved")
	}
}

func expectProblem(t *testing.T, problems []store.Problem, want string, only bool) {
	t.Helper()
	found := false
	for _, p := range problems {
		if got := p.Table + " " + p.Column; got == want {
			found = true
		} else if only {
			t.Errorf("also named: %s", p)
		}
	}
	if !found {
		t.Errorf("%q is not named among %d problems: %v", want, len(problems), problems)
	}
	if len(problems) > 12 {
		t.Errorf("%d problems for one change", len(problems))
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	s, r := story(t)
	tests := []struct{ table, where, want string }{
		{"events", "tenant = 'acme' AND idx = 4", "events "},
		{"leaves", "tenant = 'acme' AND idx = 10", "leaves "},
		{"leaves", "tenant = 'acme' AND idx = 12", "leaves "},
		{"batches", "tenant = 'acme' AND idx = 3", "batches "},
		{"batches", "tenant = 'acme' AND idx = 12", "batches "},
		{"held", "tenant = 'acme'", "batches message_digest"},
		{"keys", "tenant = 'acme'", "keys "},
		{"heads", "tenant = 'acme'", "heads "},
		{"fold_state", "tenant = 'acme' AND key = 'chain'", "fold_state "},
	}
	for _, test := range tests {
		t.Run(test.table+" "+test.where, func(t *testing.T) {
			s.exec("DROP TABLE IF EXISTS ${db}.saved")
			s.exec("CREATE TABLE ${db}.saved AS ${db}." + test.table + " ENGINE = Memory")
			s.exec("INSERT INTO ${db}.saved SELECT * FROM ${db}." + test.table + " WHERE " + test.where)
			s.exec("DELETE FROM ${db}." + test.table + " WHERE " + test.where)
			defer s.exec("INSERT INTO ${db}." + test.table + " SELECT * FROM ${db}.saved")
			problems, _ := s.checkAll(r.Ledger)
			found := false
			for _, p := range problems {
				found = found || strings.HasPrefix(p.Table+" "+p.Column, test.want)
			}
			if !found {
				t.Errorf("%q is not named among %v", test.want, problems)
			}
		})
	}
	s.expectClean(r.Ledger)
}

func TestCheckOfOneTenant(t *testing.T) {
	s, r := story(t)
	restore := s.tamper("events", "tenant = 'acme' AND idx = 3", "tool", "'other'")
	defer restore()
	if problems, _ := s.checkAll(r.Ledger, "globex"); len(problems) > 0 {
		t.Errorf("of globex: %v", problems)
	}
	if problems, _ := s.checkAll(r.Ledger, "acme"); len(problems) != 1 {
		t.Errorf("of acme: %v", problems)
	}
	if problems, _ := s.checkAll(r.Ledger, "nobody"); len(problems) != 1 {
		t.Errorf("of a log that there is not: %v", problems)
	}
}

// TestCheckOfOneTenantReadsNoOther holds for each log: what a check of all finds in it, a check of it alone finds, and it
// looks at nothing else. The operator's log has what came for tenants that there were not.
func TestCheckOfOneTenantReadsNoOther(t *testing.T) {
	s := newSite(t, 3)
	s.chaos(150)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	_, all := s.checkAll(r.Ledger)
	var sum Progress
	for _, tenant := range []string{"acme", "globex", "operator"} {
		problems, one := s.checkAll(r.Ledger, tenant)
		if head, _ := r.Head(event.TenantID(tenant)); len(problems) > 0 || one.Events != head.Size || one.TotalEvents != head.Size || one.Tenants != 1 {
			t.Errorf("%s: %v; %+v", tenant, problems, one)
		}
		sum.Messages, sum.Batches, sum.Checkpoints = sum.Messages+one.Messages, sum.Batches+one.Batches, sum.Checkpoints+one.Checkpoints
		tables := map[string]string{"events": "verdict = 'late'", "leaves": "leaf = concat(substring(leaf, 1, 182), 'X')", "heads": "root = toFixedString('x', 32)"}
		for table, change := range tables {
			column, value, _ := strings.Cut(change, " = ")
			restore := s.tamper(table, "tenant = '"+tenant+"'", column, value)
			if problems, _ := s.checkAll(r.Ledger, tenant); len(problems) == 0 {
				t.Errorf("%s: every row of %s is changed and none is named", tenant, table)
			}
			restore()
		}
	}
	// Checkpoints go on being signed while the checks run: there are as many by now, or more.
	_, after := s.checkAll(r.Ledger)
	if sum.Messages != all.Messages || sum.Batches != all.Batches || sum.Checkpoints > after.Checkpoints {
		t.Errorf("one by one %+v, all at once %+v", sum, all)
	}
}

func TestCheckFindsWhatWasNeverReceived(t *testing.T) {
	s, r := story(t)
	s.exec("INSERT INTO ${db}.events SELECT * REPLACE (99 AS idx) FROM (SELECT * FROM ${db}.events WHERE tenant = 'acme' AND idx = 3)")
	problems, _ := s.checkAll(r.Ledger)
	expectProblem(t, problems, "events ", true)
}

func TestCheckFindsAShortenedLog(t *testing.T) {
	s, r := story(t)
	for _, table := range []string{"events", "leaves", "batches", "heads", "fold_state"} {
		s.exec("DELETE FROM ${db}." + table + " WHERE tenant = 'globex'")
	}
	problems, _ := s.checkAll(r.Ledger)
	if len(problems) == 0 {
		t.Error("a log was removed and nothing is named")
	}
}

// TestCheckOfAnExpiredLog: leaves 0 to 2 of acme are Custody's own, 3 to 11 have expired, 12 is there.
func TestCheckOfAnExpiredLog(t *testing.T) {
	s, r := story(t)
	db, err := store.OpenEngine(t.Context(), embedded, s.database, store.Options{
		Head: r.Committed, MinRetention: time.Nanosecond,
	})
	s.check(err)
	defer db.Close()
	heads, err := db.Heads(t.Context())
	s.check(err)
	var before int64
	for m, err := range db.Messages(t.Context(), "acme", heads[0].Size-1) {
		s.check(err)
		before = m.MessageTime
	}
	kept, err := db.Expire(t.Context(), "acme", time.Unix(0, before))
	s.check(err)
	s.expectClean(r.Ledger)
	if kept != 12 {
		t.Fatalf("the first leaf kept is %d, want 12", kept)
	}
	idx := func(n int) string { return fmt.Sprintf("tenant = 'acme' AND idx = %d", n) }
	for _, test := range []struct{ table, where, column, value, want string }{
		{"leaves", idx(1), "leaf", "concat(substring(leaf, 1, 182), 'X')", "leaves leaf"},
		{"batches", idx(1), "producer", "'agent'", "batches producer"},
		{"batches", idx(3), "signature", "repeat('x', 64)", "batches signature"},
		{"events", idx(1), "bytes", "concat(bytes, 'x')", "events bytes"},
		{"keys", "tenant = 'acme'", "public_key", "concat(substring(public_key, 1, 31), 'X')", "keys public_key"},
	} {
		restore := s.tamper(test.table, test.where, test.column, test.value)
		problems, _ := s.checkAll(r.Ledger)
		expectProblem(t, problems, test.want, false)
		restore()
	}
	for _, n := range []int{1, 12} {
		s.exec("DELETE FROM ${db}.events WHERE " + idx(n))
		problems, _ := s.checkAll(r.Ledger)
		expectProblem(t, problems, "events ", false)
	}
}

func TestRebuildCheckOfAGoodStore(t *testing.T) {
	s := newSite(t, 2)
	s.chaos(200)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	end, err := r.Rebuild(t.Context(), true, nil)
	s.check(err)
	if end.Messages != 200 || end.Problems != 0 || end.Tenants != 3 {
		t.Errorf("rebuild: %+v", end)
	}
}

func TestRebuildCheckNamesADifference(t *testing.T) {
	s, r := story(t)
	restore := s.tamper("events", "tenant = 'acme' AND idx = 3", "tool", "'other'")
	defer restore()
	var problems []store.Problem
	_, err := r.Rebuild(t.Context(), true, func(p Progress) {
		if p.Problem != nil {
			problems = append(problems, *p.Problem)
		}
	})
	if !errors.Is(err, ErrDigest) {
		t.Errorf("got %v, want ErrDigest", err)
	}
	expectProblem(t, problems, "events tool", true)
}

func TestRebuildFillsAnEmptyStore(t *testing.T) {
	s := newSite(t, 2)
	s.chaos(200)
	s.publish()
	first := s.run(s.config())
	s.catchUp(first)
	if _, err := first.Rebuild(t.Context(), false, nil); !errors.Is(err, ErrRunning) {
		t.Errorf("while running: got %v, want ErrRunning", err)
	}
	s.check(first.stop())
	if _, err := New(s.config()).Rebuild(t.Context(), false, nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into a full store: got %v, want ErrNotEmpty", err)
	}
	s.openStore()
	again := New(s.config())
	calls := 0
	end, err := again.Rebuild(t.Context(), false, func(Progress) { calls++ })
	s.check(err)
	if end.Messages != 200 || end.Tenants != 3 || calls == 0 {
		t.Errorf("rebuild after %d calls: %+v", calls, end)
	}
	for _, tenant := range []string{"acme", "globex", "operator"} {
		want, _ := first.Head(event.TenantID(tenant))
		if got, _ := again.Head(event.TenantID(tenant)); got != want {
			t.Errorf("%s: %+v, want %+v", tenant, got, want)
		}
	}
	s.invariant(again)
	s.check(s.run(s.config()).stop())
}

// TestRebuildOfAChangedStreamFails makes a stream with one other message under the old head.
func TestRebuildOfAChangedStreamFails(t *testing.T) {
	s := newSite(t, 2)
	s.chaos(40)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.check(r.stop())
	register := s.stream.Head("0")
	value, revision, err := register.Load(t.Context())
	s.check(err)
	h, err := parseHead(value)
	s.check(err)
	h.Digest[5] ^= 1
	_, err = register.CompareAndSet(t.Context(), h.marshal(), revision)
	s.check(err)
	if _, err := New(s.config()).Rebuild(t.Context(), true, nil); !errors.Is(err, ErrDigest) {
		t.Errorf("check: got %v, want ErrDigest", err)
	}
	s.openStore()
	if _, err := New(s.config()).Rebuild(t.Context(), false, nil); !errors.Is(err, ErrDigest) {
		t.Errorf("fill: got %v, want ErrDigest", err)
	}
	if heads, err := NewStore(s.store).At(1 << 40).Heads(t.Context()); err != nil || len(heads) > 0 {
		t.Errorf("something was written: %v, %v", heads, err)
	}
}

// altered is the stream as somebody would leave it who can write to its disk.
type altered struct {
	streamReader
	at, last   uint64                // the message that is not as it was, and the last one
	change     func(*stream.Message) // or
	gone       bool                  // it is not there, which a reader notices, unless
	renumbered bool                  // those after it are numbered as if it never had been
}

func (a *altered) Next(ctx context.Context) (stream.Message, error) {
	if a.last == 0 {
		return stream.Message{}, stream.ErrHole // the stream ends earlier than it did
	}
	m, err := a.streamReader.Next(ctx)
	switch {
	case m.Seq != a.at || err != nil:
	case a.change != nil:
		a.change(&m)
	case a.gone, m.Seq == a.last:
		return stream.Message{}, stream.ErrHole
	default:
		m, err = a.streamReader.Next(ctx)
	}
	if a.renumbered && m.Seq > a.at {
		if m.Seq == a.last {
			a.last = 0
		}
		m.Seq--
	}
	return m, err
}

// TestRebuildNoticesAnyChangeOfTheStream changes one message of each kind, with leaves or without, in every way, and
// expects both ways of a rebuild to fail.
func TestRebuildNoticesAnyChangeOfTheStream(t *testing.T) {
	s := newSite(t, 4)
	kinds := map[string]uint64{}
	keep := func(kind string) { kinds[kind] = uint64(len(s.messages)) }
	s.sender("nobody", "x", s.key()).send(1)
	keep("for nobody, before there is any log")
	s.tenant("operator")
	s.tenant("acme")
	keep("genesis")
	a := s.agent("acme", "support-1")
	s.tick()
	keep("tick")
	first := a.send(2)
	keep("batch")
	s.add(stream.EventSubject("acme", a.key.ID()), []byte("garbage"))
	keep("malformed")
	s.add(stream.LateSubject("acme"), first.Data)
	keep("duplicate")
	fork := *a
	a.send(1)
	fork.send(2)
	keep("equivocation")
	s.sender("nobody", "x", s.key()).send(1)
	keep("for nobody")
	a.send(2, func(d *draft) { d.held = []int{0} })
	keep("held")
	s.revoke(a)
	keep("system")
	s.tick()
	keep("last tick")
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.check(r.stop())
	if _, err := New(s.config()).Rebuild(t.Context(), true, nil); err != nil {
		t.Fatal(err)
	}
	empty := s.emptyStore()
	for kind, at := range kinds {
		for name, a := range map[string]altered{
			"longer":    {change: func(m *stream.Message) { m.Data = append(slices.Clone(m.Data), 0) }},
			"later":     {change: func(m *stream.Message) { m.Time++ }},
			"moved":     {change: func(m *stream.Message) { m.Subject = stream.LateSubject("globex") }},
			"gone":      {gone: true},
			"never was": {renumbered: true},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				for _, db := range []*store.Store{s.store, empty} {
					cfg := s.config()
					cfg.Store = NewStore(db)
					cfg.reread = func() streamReader {
						a := a
						a.streamReader, a.at, a.last = s.stream.Read(1, ""), at, uint64(len(s.messages))
						return &a
					}
					_, err := New(cfg).Rebuild(t.Context(), db == s.store, nil)
					if !errors.Is(err, ErrDigest) && !errors.Is(err, ErrOrder) && !errors.Is(err, stream.ErrHole) {
						t.Errorf("check %v: got %v", db == s.store, err)
					}
				}
			})
		}
	}
}

// emptyStore opens a further database.
func (s *site) emptyStore() *store.Store {
	full, name := s.store, s.database
	s.openStore()
	empty := s.store
	s.store, s.database = full, name
	return empty
}
