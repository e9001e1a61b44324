package evidence

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// watched is exported with two of three witnesses, of whom the first and the third have confirmed it.
func watched(t testing.TB) *world {
	w := exported(t).withWitnesses(2, 3)
	return w.confirm(0, 2)
}

func TestWitnessed(t *testing.T) {
	w := watched(t)
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	want{ExitVerified, Complete, 10}.check(t, v)
	if v.Anchoring != "witnessed 2 of 3" || v.AnchoredAt != int64(at("11:00"))/1e9 {
		t.Errorf("%s at %d", v.Anchoring, v.AnchoredAt)
	}
	if diff := cmp.Diff(&Witnessing{2, 3, []string{"w1", "w3"}, true}, v.Witnesses); diff != "" {
		t.Error(diff)
	}
	if c := v.Check(CheckWitnesses); c.Result != Passed || c.Examined != 3 {
		t.Errorf("%+v", c)
	}
	v = verify(t, w.bundle("08:30", "10:30"), nil)
	if c := v.Check(CheckWitnesses); c.Result != NotClaimed || v.Witnesses != nil || v.Anchoring != AnchoredNot {
		t.Errorf("without a policy: %+v, %s", c, v.Anchoring)
	}
}

// Who asks for no witnesses hears of none, whoever has signed.
func TestWitnessesThatNobodyAskedFor(t *testing.T) {
	w := watched(t)
	p := w.policy()
	p.Witnesses = nil
	v := verify(t, w.bundle("08:30", "10:30"), p)
	want{ExitVerified, Complete, 10}.check(t, v)
	if v.Anchoring != AnchoredNot || v.Witnesses != nil {
		t.Errorf("%s, %+v", v.Anchoring, v.Witnesses)
	}
}

// confirmedBy is an attack on a log whose policy asks for two of three witnesses: the note is what make gives.
func confirmedBy(check string, exit int, make func(w *world, note []byte) []byte) attack {
	return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
		w := exported(t).withWitnesses(2, 3)
		note, err := w.checkpoint()
		w.must(err)
		w.confirmedAs(make(w, note))
		return w.bundle("08:30", "10:30"), w.policy()
	}}
}

func TestTooFewWitnesses(t *testing.T) {
	few := func(make func(w *world, note []byte) []byte) attack {
		return confirmedBy(CheckWitnesses, ExitWitnesses, make)
	}
	runAttacks(t, map[string]attack{
		"none": few(func(_ *world, n []byte) []byte { return n }),
		"one":  few(func(w *world, n []byte) []byte { return append(n, w.line(w.witnesses[0], witnessName(0), n)...) }),
		"one, twice": few(func(w *world, n []byte) []byte {
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), w.line(w.witnesses[0], witnessName(0), n))
		}),
		"one, at two times": few(func(w *world, n []byte) []byte {
			first := w.line(w.witnesses[0], witnessName(0), n)
			return slices.Concat(n, first, w.clock("11:30").line(w.witnesses[0], witnessName(0), n))
		}),
		"one, under another's name": few(func(w *world, n []byte) []byte {
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), w.line(w.witnesses[0], witnessName(1), n))
		}),
		"one and a stranger": few(func(w *world, n []byte) []byte {
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), w.line(w.key(), "stranger.example", n))
		}),
		"one and the log itself": few(func(w *world, n []byte) []byte {
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), w.line(w.log, w.origin, n))
		}),
		"one, and a signature of another state": confirmedBy(CheckCheckpoint, ExitCheckpoint, func(w *world, n []byte) []byte {
			foreign := w.line(w.witnesses[1], witnessName(1), bytes.Replace(n, []byte("\n16\n"), []byte("\n15\n"), 1))
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), foreign)
		}),
	})
}

// seenBefore is a log that the operator has shown to witnesses, and then shown the auditor otherwise: the same records but the last one.
func seenBefore(t testing.TB) *world {
	w := newWorld(t, "acme").withWitnesses(2, 3)
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(2)
	w.clock("09:30").confirm(0, 1)
	return w
}

// splitView shows the auditor another history than the one that the witnesses have confirmed: it has the records before, and continues
// otherwise. Earlier is whether the exporter has to show what the witnesses have signed.
func splitView(earlier bool) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		seen, shown := seenBefore(t), newWorld(t, "acme").withWitnesses(2, 3)
		a := shown.agent("support-1")
		shown.clock("09:00")
		a.send(1)
		shown.clock("11:00").access()
		if earlier {
			shown.earlier = []confirmed{*seen.confirmed}
			shown.confirm(0, 1)
		}
		return shown.bundle("08:30", "10:30"), shown.policy()
	}
}

// What the operator shows to one auditor and not to the witnesses, or has rolled back behind what they have seen, is caught.
func TestSplitViewAndRollback(t *testing.T) {
	runAttacks(t, map[string]attack{
		"another history, which no witness has seen":     {CheckWitnesses, ExitWitnesses, splitView(false)},
		"another history, with a confirmed state of one": {CheckAnchors, ExitHistory, splitView(true)},
	})
}

// editAnchor changes a record of the earlier states.
func editAnchor(i int, edit func(*anchorRecord)) func(map[string][]byte) {
	return editRecord(fileAnchors, i, func(b []byte) []byte {
		r, _ := parseAnchorRecord(b)
		edit(&r)
		return r.append(nil)
	})
}

// hourly is a log that two of three witnesses and an authority have confirmed every half hour.
func hourly(t testing.TB) *world {
	w := newWorld(t, "acme").withWitnesses(2, 3).withAuthority("Clock of Example")
	a := w.agent("support-1")
	a.send(1)
	for _, hour := range []string{"08:30", "09:00", "09:30", "10:00"} {
		w.clock(hour).confirm(0, 1)
		a.send(2)
	}
	a.say(a.closing())
	w.clock("11:00").access()
	w.clock("11:01").confirm(1, 2)
	return w
}

func TestAnchors(t *testing.T) {
	w := hourly(t)
	v := verify(t, w.bundle("09:00", "10:30"), w.policy())
	want{ExitVerified, Complete, 7}.check(t, v)
	if c := v.Check(CheckAnchors); c.Examined != 3 || c.Result != Passed {
		t.Errorf("%+v", c)
	}
	if c := v.Check(CheckTimestamps); c.Examined != 4 || c.Result != Passed {
		t.Errorf("%+v", c)
	}
	want := []TimeStamp{{"log", at("11:01"), int64(time.Second), "CN=Clock of Example", true, timestamp.RevocationNotChecked}}
	if diff := cmp.Diff(want, v.TimeStamps); diff != "" {
		t.Error(diff)
	}
	v = verify(t, w.bundle("09:00", "10:30"), nil)
	if c := v.Check(CheckAnchors); c.Result != NotClaimed || v.Exit != ExitNoPolicy {
		t.Errorf("without a policy: %+v, exit %d", c, v.Exit)
	}
}

func TestAnchorAttacks(t *testing.T) {
	edited := func(check string, exit int, edit func(files map[string][]byte)) attack {
		return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
			w := hourly(t)
			return repack(t, w.export, w.bundle("09:00", "10:30"), edit), w.policy()
		}}
	}
	history := func(edit func(*anchorRecord)) attack { return edited(CheckAnchors, ExitHistory, editAnchor(1, edit)) }
	runAttacks(t, map[string]attack{
		"states out of order":       edited(CheckAnchors, ExitHistory, editRecords(fileAnchors, swap(0, 1))),
		"proof edited":              history(func(r *anchorRecord) { r.path[0][0] ^= 1 }),
		"proof with a surplus hash": history(func(r *anchorRecord) { r.path = append(r.path, chain.Hash{}) }),
		"proof missing":             history(func(r *anchorRecord) { r.path = nil }),
		"signature edited":          history(func(r *anchorRecord) { r.Note[len(r.Note)-9] ^= 1 }),
		"state of another log":      history(func(r *anchorRecord) { r.Note = bytes.Replace(r.Note, []byte("/acme"), []byte("/acne"), 1) }),
		"time stamps exchanged": edited(CheckTimestamps, ExitTimestamp, func(files map[string][]byte) {
			list := splitRecords(files[fileAnchors])
			first, _ := parseAnchorRecord(list[0])
			editAnchor(1, func(r *anchorRecord) { r.Timestamp = first.Timestamp })(files)
		}),
		"no record": edited(CheckFormat, ExitFormat, editRecord(fileAnchors, 0, func([]byte) []byte { return []byte{0} })),
	})
}

// As many earlier states as a bundle may have are read, and no more. That they are no states is found only where they are read.
func TestTooManyAnchors(t *testing.T) {
	w := hourly(t)
	bundle := w.bundle("09:00", "10:30")
	for n, exit := range map[int]int{MaxAnchors: ExitHistory, MaxAnchors + 1: ExitFormat} {
		v := verify(t, repack(t, w.export, bundle, editRecords(fileAnchors, func([][]byte) [][]byte {
			return slices.Repeat([][]byte{(&anchorRecord{}).append(nil)}, n)
		})), w.policy())
		if v.Exit != exit || (v.Check(CheckFormat).Result == Failed) != (exit == ExitFormat) {
			t.Errorf("%d: exit %d, want %d\n%s", n, v.Exit, exit, details(v))
		}
	}
}

// A state may be shown twice: others can confirm it at two times.
func TestAnchorsOfOneState(t *testing.T) {
	w := hourly(t)
	twice := repack(t, w.export, w.bundle("09:00", "10:30"), editRecords(fileAnchors, func(list [][]byte) [][]byte { return slices.Insert(list, 1, list[1]) }))
	want{ExitVerified, Complete, 7}.check(t, verify(t, twice, w.policy()))
}

// A policy that cannot be read gives no verdict, and one whose certificates cannot be read trusts no authority.
func TestPoliciesThatCannotBeRead(t *testing.T) {
	w := hourly(t)
	bundle := w.bundle("09:00", "10:30")
	p := w.policy()
	p.Witnesses = []string{"nobody"}
	if _, err := Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), p, VerifyOptions{}); !errors.Is(err, signer.ErrQuorum) {
		t.Errorf("witnesses: %v", err)
	}
	p = w.policy()
	p.TimestampRoots = [][]byte{p.TimestampRoots[0], []byte("nothing")}
	v := verify(t, bundle, p)
	if c := v.Check(CheckTimestamps); c.Result != Failed || !strings.Contains(c.Detail, "time-stamp root 2: ") {
		t.Errorf("authorities: %+v", v.Check(CheckTimestamps))
	}
}

// Whoever names no authority still hears that a time stamp is of something else.
func TestTimestampsOfOthersWithoutAuthorities(t *testing.T) {
	w, other := exported(t).withAuthority("Clock of Example").confirm(), newWorld(t, "umbrella").withAuthority("Clock of Example").confirm()
	bundle := w.bundle("08:30", "10:30")
	bad := repack(t, w.export, bundle, func(files map[string][]byte) { files[fileTimestamp] = other.confirmed.Timestamp })
	p := w.policy()
	p.TimestampRoots = nil
	for name, policy := range map[string]*Policy{"no policy": nil, "no authority": p} {
		for stamp, bundle := range map[string][]byte{"the log": bundle, "another": bad} {
			v := verify(t, bundle, policy)
			if c := v.Check(CheckTimestamps); (c.Result == Failed) != (stamp == "another") {
				t.Errorf("%s, of %s: %+v", name, stamp, c)
			}
		}
	}
}

// A state bounds times only if a quorum has confirmed it, from the first witness to the last, or an authority that is nobody's own; the
// operator's clock is no witness.
func TestWhoBounds(t *testing.T) {
	at0850, at0900, at0910 := at("08:50"), at("09:00"), at("09:10")
	for name, test := range map[string]struct {
		confirm func(w *world, note []byte) []byte // at 09:00
		edit    func(*Policy)
		want    *Bound
		since   Instant
	}{
		"two at two times": {func(w *world, n []byte) []byte {
			return slices.Concat(n, w.line(w.witnesses[0], witnessName(0), n), w.clock("09:10").line(w.witnesses[1], witnessName(1), n))
		}, nil, &Bound{at0910, 5, "2 of 3 witnesses"}, at0900},
		"two at two times, the later one first": {func(w *world, n []byte) []byte {
			late := w.clock("09:10").line(w.witnesses[0], witnessName(0), n)
			return slices.Concat(n, late, w.clock("09:00").line(w.witnesses[1], witnessName(1), n))
		}, nil, &Bound{at0910, 5, "2 of 3 witnesses"}, at0900},
		"one alone": {func(w *world, n []byte) []byte {
			return append(n, w.line(w.witnesses[0], witnessName(0), n)...)
		}, nil, nil, 0},
		"nobody, whom nobody asked": {func(_ *world, n []byte) []byte { return n }, func(p *Policy) {
			p.Witnesses = []string{p.Witnesses[0], p.Witnesses[1], p.Witnesses[2], "quorum none"}
		}, nil, 0},
	} {
		w := newWorld(t, "acme").withWitnesses(2, 3)
		w.time = w.key()
		w.clock("08:45").agent("support-1").send(2)
		w.now = at0850
		note, err := w.checkpoint() // cosigned by the operator's clock at 08:50
		w.must(err)
		w.now = at0900
		note = test.confirm(w, note)
		p := w.policy()
		if test.edit != nil {
			test.edit(p)
		}
		x := newVerification(p, VerifyOptions{})
		head, err := signer.OpenCheckpoint(note, w.origin, p.logKey(), mustCosigners(t, p)...)
		w.must(err)
		x.keepAnchor(x.vouched(note, nil, head))
		if diff := cmp.Diff(test.want, x.existed(5)); diff != "" {
			t.Errorf("%s, before: %s", name, diff)
		}
		if since := x.notYet(7); (since == nil) != (test.want == nil) || since != nil && since.At != test.since {
			t.Errorf("%s, since: %+v", name, since)
		}
	}
}

func mustCosigners(t *testing.T, p *Policy) []signer.Cosigner {
	t.Helper()
	list, err := p.cosigners()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTimestampAttacks(t *testing.T) {
	stamped := func(spoil func(w *world)) func(*testing.T) ([]byte, *Policy) {
		return func(t *testing.T) ([]byte, *Policy) {
			w := exported(t).withAuthority("Clock of Example")
			spoil(w)
			w.confirm()
			return w.bundle("08:30", "10:30"), w.policy()
		}
	}
	fails := func(spoil func(w *world)) attack { return attack{CheckTimestamps, ExitTimestamp, stamped(spoil)} }
	edited := func(edit func([]byte) []byte) attack {
		return attack{CheckTimestamps, ExitTimestamp, func(t *testing.T) ([]byte, *Policy) {
			bundle, policy := stamped(func(*world) {})(t)
			return repack(t, exported(t).export, bundle, func(files map[string][]byte) { files[fileTimestamp] = edit(files[fileTimestamp]) }), policy
		}}
	}
	runAttacks(t, map[string]attack{
		"foreign authority":    fails(func(w *world) { w.authority = newAuthority(w, "Clock of Example", 8) }),
		"expired certificate":  fails(func(w *world) { w.authority.skew = 60 * 24 * time.Hour }),
		"before its time":      fails(func(w *world) { w.authority.skew = -60 * 24 * time.Hour }),
		"certificate of a web": fails(func(w *world) { w.authority = newAuthority(w, "Web", 1); w.roots = [][]byte{w.authority.chain[1].Raw} }),
		"revoked before":       fails(func(w *world) { w.listed(-1, 5) }),
		"revoked for its key":  fails(func(w *world) { w.listed(1, 1) }),
		"cut":                  edited(func(b []byte) []byte { return b[:len(b)-1] }),
		"edited":               edited(flipLast),
		"of another log": edited(func([]byte) []byte {
			w := newWorld(t, "umbrella").withAuthority("Clock of Example").confirm()
			return w.confirmed.Timestamp
		}),
		"of another signature": fails(func(w *world) { w.stamps, w.misstamp = true, true }),
		"no time stamp at all": edited(func([]byte) []byte { return []byte("nothing") }),
	})
}

func TestTimestamped(t *testing.T) {
	w := exported(t).withAuthority("Clock of Example").confirm()
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	want{ExitVerified, Complete, 10}.check(t, v)
	if v.Anchoring != AnchoredByStamp || len(v.TimeStamps) != 1 {
		t.Errorf("%s, %+v", v.Anchoring, v.TimeStamps)
	}
	// A stamp of the export alone says when the bundle was made.
	w = exported(t).withAuthority("Clock of Example")
	w.stamps = true
	v = verify(t, w.bundle("08:30", "10:30"), w.policy())
	want{ExitVerified, Complete, 10}.check(t, v)
	if v.Anchoring != AnchoredNot || len(v.TimeStamps) != 1 || v.TimeStamps[0].Of != "export" {
		t.Errorf("%s, %+v", v.Anchoring, v.TimeStamps)
	}
	// The operator's own authority is the operator's clock.
	w = exported(t).withAuthority("Custody time stamps (not qualified)")
	w.authority.policy = timestamp.NotQualified
	w.confirm()
	v = verify(t, w.bundle("08:30", "10:30"), w.policy())
	if v.Anchoring != AnchoredByLog || len(v.TimeStamps) != 1 || v.TimeStamps[0].Qualified {
		t.Errorf("%s, %+v", v.Anchoring, v.TimeStamps)
	}
	if got := w.asked(t, "08:30", "10:30", 5)[0]; got.Before != nil {
		t.Errorf("the operator's own stamp bounds: %+v", got.Before)
	}
	if text := v.Text(); !strings.Contains(text, "not qualified: its stamp says what the operator's clock says") {
		t.Errorf("the text does not say what a stamp of one's own is worth:\n%s", text)
	}
	// A policy that names no authority hears of none.
	p := w.policy()
	p.TimestampRoots = nil
	if v = verify(t, w.bundle("08:30", "10:30"), p); v.Exit != ExitVerified || v.Anchoring != AnchoredNot || len(v.TimeStamps) != 0 {
		t.Errorf("exit %d, %s, %+v", v.Exit, v.Anchoring, v.TimeStamps)
	}
}

// The verdict says whether anybody has looked whether the authority's certificate was revoked.
func TestRevocationOfAnAuthority(t *testing.T) {
	w := exported(t).withAuthority("Clock of Example").confirm()
	bundle := w.bundle("08:30", "10:30")
	for want, reasons := range map[timestamp.Revocation][]int{timestamp.RevocationNotChecked: nil, timestamp.NotRevoked: {0}, "": {0, 1}} {
		o := VerifyOptions{}
		for _, r := range reasons {
			o.RevocationLists = append(o.RevocationLists, w.authority.list(w, day.AddDate(0, 0, 1), r))
		}
		v, err := Verify(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), w.policy(), o)
		w.must(err)
		switch {
		case want == "" && (v.Exit != ExitTimestamp || len(v.TimeStamps) != 0):
			t.Errorf("revoked: exit %d, %+v", v.Exit, v.TimeStamps)
		case want != "" && (v.Exit != ExitVerified || v.TimeStamps[0].Revocation != want || !strings.Contains(v.Text(), revocationWords[want])):
			t.Errorf("%s: exit %d, %+v\n%s", want, v.Exit, v.TimeStamps, v.Text())
		}
	}
}

// asked verifies a bundle and asks about events, by the numbers of their records.
func (w *world) asked(t testing.TB, from, to string, indices ...chain.Index) []When {
	t.Helper()
	var ids []event.ID
	for _, i := range indices {
		for _, m := range w.messages {
			if i >= m.First && i < m.end() {
				e, err := event.Parse(m.Events[i-m.First].Bytes)
				w.must(err)
				ids = append(ids, event.ID(e.GetId()))
			}
		}
	}
	bundle := w.bundle(from, to)
	v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), w.policy(), VerifyOptions{Events: ids})
	w.must(err)
	return v.When
}

// The records 5 and 6 were received at 08:30, after the log was confirmed; they are in what was confirmed at 09:00.
func TestIntervals(t *testing.T) {
	w := hourly(t)
	witnesses, stamp := "2 of 3 witnesses", "the time stamp of CN=Clock of Example"
	second := Instant(time.Second)
	for _, test := range []struct {
		record           chain.Index
		received         string
		since, after, by *Bound
	}{
		{5, "08:30", nil, nil, &Bound{at("09:00"), 6, witnesses}},
		{8, "09:00", &Bound{at("08:30"), 4, witnesses}, &Bound{at("08:30"), 6, "log"}, &Bound{at("09:30"), 8, witnesses}},
		{12, "10:00", &Bound{at("09:30"), 8, witnesses}, &Bound{at("09:30"), 10, "log"}, &Bound{at("11:01"), 14, witnesses}},
	} {
		got := w.asked(t, "08:10", "10:30", test.record)[0]
		if !got.Found || got.Record != test.record || got.Received != at(test.received) || got.Instance != "support-1" {
			t.Errorf("record %d: %+v", test.record, got)
		}
		if diff := cmp.Diff(test.by, got.Before); diff != "" {
			t.Errorf("record %d, before: %s", test.record, diff)
		}
		if test.after != nil && !cmp.Equal(test.after, got.After) {
			t.Errorf("record %d, after: %+v", test.record, got.After)
		}
		if diff := cmp.Diff(test.since, got.Since); diff != "" {
			t.Errorf("record %d, since: %s", test.record, diff)
		}
	}
	// Stamps bound from above where there are no witnesses.
	w.witnesses = nil
	got := w.asked(t, "08:10", "10:30", 8)[0]
	if diff := cmp.Diff(&Bound{at("09:30") + second, 8, stamp}, got.Before); diff != "" || got.Since != nil {
		t.Errorf("by stamps: %s, %+v", diff, got.Since)
	}
	// Of an event that is not here nothing is said.
	v, err := Verify(context.Background(), bytes.NewReader(w.bundle("08:30", "09:00")), int64(len(w.bundle("08:30", "09:00"))), w.policy(),
		VerifyOptions{Events: []event.ID{{6: 0x70, 8: 0x80}}})
	if err != nil || len(v.When) != 1 || v.When[0].Found || !strings.Contains(v.Text(), "nothing is said of its time") {
		t.Errorf("%v %+v", err, v.When)
	}
}

func TestPolicyOfOthers(t *testing.T) {
	w := watched(t).withAuthority("Clock of Example")
	good := w.policy()
	b, err := good.Marshal()
	w.must(err)
	again, err := ParsePolicy(b)
	w.must(err)
	if diff := cmp.Diff(good, again); diff != "" {
		t.Error(diff)
	}
	list, err := good.Fingerprints()
	w.must(err)
	var names []string
	for _, f := range list {
		names = append(names, f.Of)
	}
	want := []string{"policy", "log key", "system key", "export key", "witness w1", "witness w2", "witness w3", "time-stamp root"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	good.TimestampRoots = slices.Repeat(good.TimestampRoots, maxRoots)
	if _, err := good.Marshal(); err != nil {
		t.Errorf("as many roots as one reads: %v", err)
	}
	own := func(k *signer.Key) func(*Policy) {
		return func(p *Policy) {
			p.Witnesses = []string{"witness w1 " + signer.CosignatureVKey("w", k.Public()), "quorum w1"}
		}
	}
	for what, spoil := range map[string]func(*Policy){
		"witness is the log":        own(w.log),
		"witness is the system":     own(w.system),
		"witness is the exporter":   own(w.export.(*signer.Key)),
		"time key is none":          func(p *Policy) { p.TimeKey = "x" },
		"no log key of no log":      func(p *Policy) { p.Origin, p.LogKey = "", "x" },
		"no quorum":                 func(p *Policy) { p.Witnesses = p.Witnesses[:3] },
		"comment":                   func(p *Policy) { p.Witnesses = append([]string{"# x"}, p.Witnesses...) },
		"second encoding":           func(p *Policy) { p.Witnesses[3] = strings.Replace(p.Witnesses[3], " 2 ", "  2 ", 1) },
		"a log":                     func(p *Policy) { p.Witnesses = append([]string{"log " + p.LogKey}, p.Witnesses...) },
		"a URL":                     func(p *Policy) { p.Witnesses[0] += " https://witness.example" },
		"two lines in one":          func(p *Policy) { p.Witnesses = []string{strings.Join(p.Witnesses, "\n")} },
		"root is no certificate":    func(p *Policy) { p.TimestampRoots[0] = []byte("root") },
		"root with trailing bytes":  func(p *Policy) { p.TimestampRoots[0] = append(bytes.Clone(p.TimestampRoots[0]), 0) },
		"more roots than one reads": func(p *Policy) { p.TimestampRoots = slices.Repeat(p.TimestampRoots, maxRoots+1) },
	} {
		p := w.policy()
		spoil(p)
		if _, err := p.Marshal(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.time = w.witnesses[1]
	if _, err := w.policy().Marshal(); !errors.Is(err, ErrPolicy) {
		t.Errorf("witness is the operator's clock: %v", err)
	}
}

// A record of an earlier state has room for the longest proof and the largest time stamp, and for no more.
func TestLimitsOfAnchorRecords(t *testing.T) {
	for _, test := range []struct {
		path, stamp int
		want        error
	}{
		{maxPath, timestamp.MaxResponse, nil}, {maxPath + 1, 1, ErrRecord}, {1, timestamp.MaxResponse + 1, ErrRecord},
	} {
		r := anchorRecord{Anchor{[]byte("note"), make([]byte, test.stamp)}, make([]chain.Hash, test.path)}
		if _, err := parseAnchorRecord(r.append(nil)); !errors.Is(err, test.want) {
			t.Errorf("%d hashes, %d bytes: %v", test.path, test.stamp, err)
		}
	}
}

func FuzzAnchorRecord(f *testing.F) {
	w := hourly(f)
	for _, b := range splitRecords(unpack(f, w.bundle("09:00", "10:30"))[fileAnchors]) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseAnchorRecord(b); err == nil && !bytes.Equal(r.append(nil), b) {
			t.Errorf("%x comes back as %x", b, r.append(nil))
		}
	})
}

// A world's notes are notes.
func TestWorldsNotes(t *testing.T) {
	w := watched(t)
	_, err := note.Open(w.confirmed.Note, note.VerifierList())
	if !errors.As(err, new(*note.UnverifiedNoteError)) {
		t.Error(err)
	}
}
