package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// receipt is Custody's receipt for a batch, with a promise for so long.
func (w *world) receipt(statement []byte, delay time.Duration, edits ...func(*signer.Receipt)) signer.KeptReceipt {
	r := signer.Receipt{
		Origin: w.origin, Batch: digestOf(statement), Sequence: uint64(len(w.messages) + 1), Time: int64(w.now), Deadline: int64(w.now) + int64(delay),
	}
	for _, edit := range edits {
		edit(&r)
	}
	return signer.KeptReceipt{Note: w.signedReceipt(r, w.system), Statement: statement}
}

func (w *world) signedReceipt(r signer.Receipt, key *signer.Key) string {
	s, err := signer.NoteSigner(key, r.Origin)
	w.must(err)
	note, err := signer.SignReceipt(r, s)
	w.must(err)
	return string(note)
}

func digestOf(statement []byte) chain.Hash { return event.BatchDigest(statement) }

// receipts are what a holder has.
type receipts struct {
	w    *world
	kept []signer.KeptReceipt
}

// within keeps the receipt for a batch, which promises its leaves within so long.
func (r *receipts) within(delay time.Duration) func(*draft) {
	return func(d *draft) {
		d.receipt = func(statement []byte) { r.kept = append(r.kept, r.w.receipt(statement, delay)) }
	}
}

func verifyReceipts(t testing.TB, bundle []byte, p *Policy, kept []signer.KeptReceipt) Verdict {
	t.Helper()
	v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), p, VerifyOptions{Receipts: kept})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// results are the result of each receipt, and why.
func results(v Verdict) (list []string) {
	if v.Receipts == nil {
		return nil
	}
	for _, r := range v.Receipts.List {
		list = append(list, strings.TrimSuffix(r.Result+" "+r.Why, " "))
	}
	return list
}

// promisedWorld is a log that keeps the first of its promises, then does as told at nine, and goes on at eleven.
func promisedWorld(t testing.TB, tell func(r *receipts, a *sender)) *receipts {
	r := &receipts{w: newWorld(t, "acme")}
	a := r.w.agent("support-1")
	r.w.clock("09:00")
	a.send(2, r.within(time.Hour))
	tell(r, a)
	a.say(a.closing())
	r.w.clock("11:00").access()
	return r
}

var receiptCases = map[string]struct {
	from, to string
	tell     func(r *receipts, a *sender)
	exit     int
	want     []string
}{
	"kept":    {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, r.within(time.Hour)) }, ExitVerified, []string{"present", "present"}},
	"omitted": {"08:30", "10:30", func(r *receipts, a *sender) { a.send(3, lost, r.within(time.Hour)) }, ExitOmission, []string{"present", "missing"}},
	"omitted from the beginning": {"00:00", "10:30", func(r *receipts, a *sender) {
		a.send(3, lost, r.within(time.Hour), stating(func(s *eventv1.BatchStatement) { s.LastSeen = nil }))
	}, ExitOmission, []string{"present", "missing"}},
	"omitted at the end of the log": {"08:30", "23:00", func(r *receipts, a *sender) { a.send(3, lost, r.within(time.Hour)) }, ExitOmission, []string{"present", "missing"}},
	"not yet":                       {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, lost, r.within(3*time.Hour)) }, ExitGaps, []string{"present", "undecided after-range"}},
	"not yet by a moment":           {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, lost, r.within(2*time.Hour)) }, ExitGaps, []string{"present", "undecided after-range"}},
	"late by a moment":              {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, lost, r.within(2*time.Hour-1)) }, ExitOmission, []string{"present", "missing"}},
	"perhaps before": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour), stating(func(s *eventv1.BatchStatement) { s.LastSeen = nil }))
	}, ExitGaps, []string{"present", "undecided before-range"}},
	"before": {"09:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour))
		a.send(1)
		r.w.clock("10:00").access()
	}, ExitVerified, []string{"undecided before-range", "undecided before-range"}},
	"a record that nobody has seen": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour), stating(func(s *eventv1.BatchStatement) { s.LastSeen.LeafHash[0] ^= 1 }))
	}, ExitGaps, []string{"present", "undecided before-range"}},
	"a record that is not there yet": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour), stating(func(s *eventv1.BatchStatement) { s.LastSeen.Index += 1000 }))
	}, ExitGaps, []string{"present", "undecided before-range"}},
	"of another key": {"08:30", "10:30", func(r *receipts, _ *sender) {
		r.kept[0].Note = r.w.signedReceipt(signer.Receipt{
			Origin: r.w.origin, Batch: digestOf(r.kept[0].Statement), Sequence: 1, Time: 1, Deadline: 1,
		}, r.w.log)
	}, ExitReceipts, []string{"unsigned open receipt: signature does not verify"}},
	"of another batch": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, r.within(time.Hour))
		r.kept[0].Statement = r.kept[1].Statement
	}, ExitReceipts, []string{"unsigned " + errOtherBatch.Error(), "present"}},
	"of another log": {"08:30", "10:30", func(r *receipts, _ *sender) {
		r.kept[0] = r.w.receipt(r.kept[0].Statement, time.Hour, func(s *signer.Receipt) { s.Origin += "x" })
	}, ExitReceipts, []string{"unsigned open receipt: signature does not verify"}},
	"of nothing": {"08:30", "10:30", func(r *receipts, _ *sender) {
		r.kept[0] = r.w.receipt([]byte("nothing"), time.Hour)
	}, ExitReceipts, []string{"unsigned"}},
	"of another tenant": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour), stating(func(s *eventv1.BatchStatement) { s.Tenant = "umbrella" }))
	}, ExitReceipts, []string{"present", "unsigned " + errOtherReceipt.Error()}},
	"omitted, and one forged": {"08:30", "10:30", func(r *receipts, a *sender) {
		a.send(3, lost, r.within(time.Hour))
		r.kept[0].Statement = r.kept[1].Statement
	}, ExitOmission, []string{"unsigned " + errOtherBatch.Error(), "missing"}},
}

func TestReceipts(t *testing.T) {
	for name, c := range receiptCases {
		t.Run(name, func(t *testing.T) {
			r := promisedWorld(t, c.tell)
			bundle := r.w.bundle(c.from, c.to)
			v := verifyReceipts(t, bundle, r.w.policy(), r.kept)
			if v.Exit != c.exit {
				t.Errorf("exit %d, want %d\n%s%s", v.Exit, c.exit, v.Text(), details(v))
			}
			got := results(v)
			for i := range c.want { // errors of others may say more
				if i < len(got) && strings.HasPrefix(got[i], c.want[i]) && strings.HasPrefix(c.want[i], ReceiptUnsigned) {
					got[i] = c.want[i]
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			recordReceipts(t, bundle, r.w.policy(), v, r.kept)
		})
	}
}

// Receipts say nothing of the bundle: what it is stays what it is without them.
func TestReceiptsChangeNoOtherAnswer(t *testing.T) {
	r := promisedWorld(t, receiptCases["omitted, and one forged"].tell)
	bundle := r.w.bundle("08:30", "10:30")
	with, without := verifyReceipts(t, bundle, r.w.policy(), r.kept), verify(t, bundle, r.w.policy())
	if with.Integrity != without.Integrity || with.Authenticity != without.Authenticity || with.Completeness != NoClaim {
		t.Errorf("%s, %s, %s", with.Integrity, with.Authenticity, with.Completeness)
	}
	if diff := cmp.Diff(without.Checks, with.Checks[:len(rules)]); diff != "" {
		t.Error(diff)
	}
}

func TestReceiptsWithoutAPolicy(t *testing.T) {
	for name, want := range map[string]struct {
		exit     int
		omission Result
	}{"kept": {ExitNoPolicy, NotClaimed}, "omitted": {ExitOmission, Failed}} {
		r := promisedWorld(t, receiptCases[name].tell)
		v := verifyReceipts(t, r.w.bundle("08:30", "10:30"), nil, r.kept)
		if v.Exit != want.exit || v.Check(CheckOmission).Result != want.omission || v.Check(CheckReceipts).Result != NotClaimed {
			t.Errorf("%s: exit %d\n%s", name, v.Exit, v.Text())
		}
	}
}

// The leaves of others are shown in a bundle of one instance: receipts of others can be held to it.
func TestReceiptsOfOthers(t *testing.T) {
	r := promisedWorld(t, func(r *receipts, a *sender) {
		a.send(1, lost, r.within(time.Hour))
		r.w.agent("billing-1").send(2)
	})
	s := r.w.scope("08:30", "10:30")
	s.Instance = "billing-1"
	v := verifyReceipts(t, r.w.exportScope(s, ExportOptions{}), r.w.policy(), r.kept)
	if diff := cmp.Diff([]string{"present", "missing"}, results(v)); diff != "" || v.Exit != ExitOmission {
		t.Errorf("exit %d: %s\n%s", v.Exit, diff, details(v))
	}
}

// Where the chain is broken nothing is concluded from what is not there.
func TestReceiptsOfABrokenLog(t *testing.T) {
	r := promisedWorld(t, receiptCases["omitted"].tell)
	bundle := repack(t, r.w.export, r.w.bundle("08:30", "10:30"), swapLeaves(1, 2))
	v := verifyReceipts(t, bundle, r.w.policy(), r.kept)
	if v.Exit != ExitChain || v.Receipts == nil || v.Receipts.Missing != 0 || v.Receipts.List[1].Why != NotProven {
		t.Errorf("exit %d, %+v", v.Exit, v.Receipts)
	}
}

func TestTextsOfReceipts(t *testing.T) {
	for name, of := range map[string]string{"omission": "omitted", "receipts": "of another batch", "receipts-kept": "kept", "receipts-undecided": "before"} {
		t.Run(name, func(t *testing.T) {
			c := receiptCases[of]
			r := promisedWorld(t, c.tell)
			v := verifyReceipts(t, r.w.bundle(c.from, c.to), r.w.policy(), r.kept)
			text := v.Text()
			if words := jargon.FindAllString(text, -1); words != nil {
				t.Errorf("a lawyer must read %q", words)
			}
			golden(t, filepath.Join("testdata", "text", name+".txt"), text)
			b, err := v.JSON()
			r.w.must(err)
			var again Verdict
			if err := json.Unmarshal(b, &again); err != nil || again.Text() != text {
				t.Errorf("the verdict does not come back from its JSON: %v\n%s", err, b)
			}
		})
	}
}

func TestReadReceipts(t *testing.T) {
	r := promisedWorld(t, receiptCases["kept"].tell)
	file := receiptFile(t, r.kept)
	got, err := ReadReceipts(bytes.NewReader(file))
	if diff := cmp.Diff(r.kept, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for name, text := range map[string]string{
		"cut":        string(file[:len(file)-1]),
		"empty line": string(file) + "\n",
		"no receipt": string(file) + "hello\n",
		"endless":    string(file) + strings.Repeat("x", 1<<20),
	} {
		line := fmt.Sprintf("line %d:", len(r.kept)+map[bool]int{true: 0, false: 1}[name == "cut"])
		if list, err := ReadReceipts(strings.NewReader(text)); !errors.Is(err, signer.ErrReceipt) || list != nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%s: %d receipts, %v", name, len(list), err)
		}
	}
	if list, err := ReadReceipts(strings.NewReader("")); err != nil || list != nil {
		t.Errorf("an empty file: %v, %v", list, err)
	}
	if _, err := ReadReceipts(strings.NewReader(strings.Repeat(string(receiptFile(t, r.kept[:1])), MaxReceipts+1))); !errors.Is(err, signer.ErrReceipt) {
		t.Errorf("too many: %v", err)
	}
	if _, err := ReadReceipts(failing{}); err == nil || errors.Is(err, signer.ErrReceipt) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// failing is a file that cannot be read.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no disk") }

func receiptFile(t testing.TB, kept []signer.KeptReceipt) (file []byte) {
	t.Helper()
	for i := range kept {
		line, err := kept[i].Line()
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, line...)
	}
	return file
}

// A batch of which only a leaf beside the range is shown is there. What the range does not reach is not known to be missing.
func TestReceiptsAtTheEnds(t *testing.T) {
	for name, test := range map[string]struct {
		from, to string
		tell     func(r *receipts, a *sender)
		want     []string
	}{
		"before the range":            {"09:30", "10:30", func(*receipts, *sender) {}, []string{"undecided before-range"}},
		"the last one before it":      {"09:30", "10:30", func(r *receipts, a *sender) { a.send(1, r.within(time.Hour)); r.w.clock("10:00") }, []string{"undecided before-range", "present"}},
		"the first one after it":      {"08:30", "08:45", func(*receipts, *sender) {}, []string{"present"}},
		"after the first one":         {"08:30", "08:45", func(r *receipts, a *sender) { a.send(1, r.within(time.Hour)) }, []string{"present", "undecided after-range"}},
		"its producer saw the first":  {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, lost, r.within(time.Hour), seeing(r.w, 3)) }, []string{"present", "missing"}},
		"its producer saw one before": {"08:30", "10:30", func(r *receipts, a *sender) { a.send(1, lost, r.within(time.Hour), seeing(r.w, 2)) }, []string{"present", "undecided before-range"}},
	} {
		r := promisedWorld(t, test.tell)
		v := verifyReceipts(t, r.w.bundle(test.from, test.to), r.w.policy(), r.kept)
		if diff := cmp.Diff(test.want, results(v)); diff != "" {
			t.Errorf("%s: exit %d: %s\n%s", name, v.Exit, diff, details(v))
		}
	}
}

// seeing has a batch made after a leaf.
func seeing(w *world, index chain.Index) func(*draft) {
	return stating(func(s *eventv1.BatchStatement) {
		hash := chain.LeafHash(w.leaves[index])
		s.LastSeen = &eventv1.LastSeen{Index: uint64(index), LeafHash: hash[:]}
	})
}

// At the end of the log the time under its state says how far it reaches, and only there.
func TestHowFarReceiptsReach(t *testing.T) {
	for name, test := range map[string]struct {
		to       string
		cosigned bool
		within   time.Duration
		want     string
	}{
		"to the end, and confirmed later": {"23:00", true, 3 * time.Hour, "missing"},
		"to the end":                      {"23:00", false, 3 * time.Hour, "undecided after-range"},
		"not to the end":                  {"10:30", true, 3 * time.Hour, "undecided after-range"},
		"past its time, not to the end":   {"10:30", false, time.Hour, "missing"},
	} {
		r := promisedWorld(t, func(r *receipts, a *sender) { a.send(1, lost, r.within(test.within)) })
		if r.w.access(); test.cosigned {
			r.w.time = r.w.key()
		}
		r.w.clock("13:00")
		v := verifyReceipts(t, r.w.bundle("08:30", test.to), r.w.policy(), r.kept)
		if got := results(v); len(got) != 2 || got[1] != test.want {
			t.Errorf("%s: %s\n%s", name, got, details(v))
		}
	}
}

// A leaf at an end that nobody can read is the chain's matter, and says nothing of receipts.
func TestReceiptsBesideUnreadableLeaves(t *testing.T) {
	r := promisedWorld(t, receiptCases["omitted"].tell)
	bundle := r.w.bundle("08:30", "10:30")
	last := len(unpack(t, bundle)[fileLeaves])/chain.LeafSize - 1
	for _, leaf := range []int{0, 2, last} { // 2 is what the producer had seen
		v := verifyReceipts(t, repack(t, r.w.export, bundle, editLeaf(leaf, func(b []byte) { b[0] = 9 })), r.w.policy(), r.kept)
		if v.Exit != ExitChain || v.Receipts == nil || v.Receipts.Missing != 0 || v.Receipts.Present != 1 {
			t.Errorf("leaf %d: exit %d, %+v", leaf, v.Exit, v.Receipts)
		}
	}
}

// Whichever check of the log fails, nothing is concluded from what is not there.
func TestReceiptsOfAnUnprovenLog(t *testing.T) {
	r := promisedWorld(t, receiptCases["omitted"].tell)
	for _, check := range []string{"", CheckChain, CheckRange, CheckCheckpoint, CheckKey} {
		v := newVerification(r.w.policy(), VerifyOptions{Receipts: r.kept})
		v.scope, v.system = &Scope{Tenant: r.w.tenant, Origin: r.w.origin, End: 9, Size: 9}, &v.policy.SystemKey
		if check != "" {
			v.fail(check, errAny)
		}
		got, err := v.hold(&r.kept[1], at("23:00"))
		if proven := check == "" || check == CheckKey; err != nil || (got.Result == ReceiptMissing) != proven || (got.Why == NotProven) == proven {
			t.Errorf("%s fails: %v, %s %s", check, err, got.Result, got.Why)
		}
	}
}

// Without a key, or with one that is none, nothing is a receipt.
func TestReceiptsWithoutAKey(t *testing.T) {
	r := promisedWorld(t, receiptCases["kept"].tell)
	v := newVerification(nil, VerifyOptions{Receipts: r.kept})
	v.scope = &Scope{Tenant: r.w.tenant, Origin: r.w.origin, End: 9, Size: 9}
	if _, _, err := v.openReceipt(&r.kept[0]); !errors.Is(err, errNoSystemKey) {
		t.Errorf("no key: %v", err)
	}
	v.system = new(signer.PublicKey)
	if _, _, err := v.openReceipt(&r.kept[0]); err == nil {
		t.Error("a key that is none")
	}
	v.system = &r.w.policy().SystemKey
	elsewhere := signer.Receipt{Origin: r.w.origin + "x", Batch: digestOf(r.kept[0].Statement), Sequence: 1, Time: 1, Deadline: 1}
	s, err := signer.NoteSigner(r.w.system, r.w.origin)
	r.w.must(err)
	if note, err := signer.SignReceipt(elsewhere, s); err == nil {
		if _, _, err := v.openReceipt(&signer.KeptReceipt{Note: string(note), Statement: r.kept[0].Statement}); !errors.Is(err, errOtherReceipt) {
			t.Errorf("of another log, by the same key: %v", err)
		}
	}
	v.scope.Origin = "no name"
	if _, _, err := v.openReceipt(&r.kept[0]); err == nil {
		t.Error("a log without a name")
	}
}

// Of a batch the first leaf counts, whichever is seen first, and no other batch is remembered.
func TestPromisedBatches(t *testing.T) {
	kept := []signer.KeptReceipt{{Statement: []byte("one")}, {Statement: []byte("two")}}
	p := newPromised(kept)
	one, two, other := digestOf(kept[0].Statement), digestOf(kept[1].Statement), digestOf(nil)
	for _, l := range []chain.Leaf{{Index: 5}, {Index: 3}, {Index: 9}} {
		l.Batch = one
		p.see(&l)
		p.see(&chain.Leaf{Batch: other, Index: l.Index + 1})
	}
	if found := p.first[one]; found == nil || *found != 3 || p.first[two] != nil || len(p.first) != 2 {
		t.Errorf("%v, %v, %d batches", found, p.first[two], len(p.first))
	}
}

func FuzzReadReceipts(f *testing.F) {
	r := promisedWorld(f, receiptCases["kept"].tell)
	f.Add(receiptFile(f, r.kept))
	f.Fuzz(func(t *testing.T, file []byte) {
		list, err := ReadReceipts(bytes.NewReader(file))
		if err == nil && !bytes.Equal(receiptFile(t, list), file) {
			t.Errorf("%q is read as something else", file)
		}
	})
}
