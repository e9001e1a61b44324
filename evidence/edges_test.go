package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// A list of files that names one more than there are is not the container's.
func TestAListOfMoreFiles(t *testing.T) {
	b := exported(t).bundle("08:30", "10:30")
	c, err := openContainer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(unpack(t, b)[fileManifest], &m); err != nil {
		t.Fatal(err)
	}
	for surplus, want := range []error{nil, ErrManifest} {
		list := m
		for range surplus {
			list.Files = append(list.Files, manifestFile{Path: "zzz", MediaType: "text/plain"})
		}
		text, err := marshalJSON(list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkManifest(c, text); !errors.Is(err, want) {
			t.Errorf("%d files more: %v", surplus, err)
		}
	}
}

// A file may be as large as its limit.
func TestFilesAtTheirLimits(t *testing.T) {
	s := makeSparse(map[string]uint64{fileScope: maxSmallFile, fileEvents: maxRecordFile})
	if _, err := openContainer(s, s.size); err != nil {
		t.Error(err)
	}
}

// The account of who handled a bundle is of one version, and signed whole.
func TestHandlingsOfAnotherVersion(t *testing.T) {
	w := newWorld(t, "acme")
	s, public := w.scope("08:30", "10:30"), exportKeyOf(w.export)
	for version, want := range map[int]error{1: nil, 2: ErrEnvelope} {
		payload, err1 := json.Marshal(handling{Version: version, At: s.ExportedAt, Actor: s.Requester, Action: actionExported, Purpose: s.Purpose, Tool: "custody test"})
		e, err2 := sealEnvelope(w.export, PayloadTypeHandling, payload)
		id := public.ID()
		e.Signatures[0].KeyID = &id
		line, err3 := json.Marshal(e)
		w.must(errors.Join(err1, err2, err3))
		if _, err := readCustodyFile(append(line, '\n'), &public, &s, chain.Hash{}); !errors.Is(err, want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// A question that is worded, put or judged in another way is not the program's own, and neither is a framework that says something else of itself.
func TestQuestionsOfOthers(t *testing.T) {
	for name, edit := range map[string]func(*Mapping){
		"":                      func(*Mapping) {},
		"words":                 func(m *Mapping) { m.Tests[0].What += "." },
		"what is asked":         func(m *Mapping) { m.Tests[0].Select = m.Tests[1].Select },
		"what is demanded":      func(m *Mapping) { m.Tests[0].Require += " tool=mail" },
		"a question of its own": func(m *Mapping) { m.Tests[0].ID = "other" },
		"name":                  func(m *Mapping) { m.Frameworks[0].Name += "." },
		"source":                func(m *Mapping) { m.Frameworks[0].Source += "." },
		"note":                  func(m *Mapping) { m.Frameworks[0].Note += "." },
		"a control's title":     func(m *Mapping) { m.Frameworks[0].Controls[0].Title += "." },
		"a control's note":      func(m *Mapping) { m.Frameworks[0].Controls[0].Note += "." },
		"a control's questions": func(m *Mapping) { m.Frameworks[0].Controls[0].Tests = nil },
	} {
		m, err := ownMapping()
		if err != nil {
			t.Fatal(err)
		}
		if edit(m); m.known() != (name == "") {
			t.Errorf("%q: known is %v", name, m.known())
		}
	}
}

// Integrity rests on those checks alone that the signatures and hashes of the records answer, and is not known unless all of them ran.
func TestWhatIntegrityRestsOn(t *testing.T) {
	for name, test := range map[string]struct {
		run  func(*rule) bool
		want string
	}{
		"nothing ran":       {func(*rule) bool { return false }, Unknown},
		"all ran":           {func(*rule) bool { return true }, Intact},
		"those alone":       {func(r *rule) bool { return r.broken }, Intact},
		"all but the chain": {func(r *rule) bool { return r.name != CheckChain }, Unknown},
	} {
		v := newVerification(nil, VerifyOptions{})
		for i := range rules {
			if test.run(&rules[i]) {
				v.done(rules[i].name)
			}
		}
		if got := v.integrity(); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// Of a message that is shown as a whole nothing may be kept closed, and the leaf of one that nobody can read names nobody.
func TestMessagesWithOneLeaf(t *testing.T) {
	day := eventful(t)
	s := day.scope("08:30", "10:30")
	unread := 0
	for i, b := range day.leaves {
		if l, err := chain.ParseLeaf(b); err == nil && l.Verdict == chain.Malformed {
			unread = i
		}
	}
	bundle := day.exportScope(s, ExportOptions{})
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	day.must(err)
	file, err := c.read(fileScope)
	day.must(err)
	day.must(json.Unmarshal(file, &s))
	closed := repack(t, day.export, bundle, editRecord(fileEvents, unread-int(s.Begin), func([]byte) []byte { return []byte{byte(stateHeld)} }))
	if v := verify(t, closed, day.policy()); !strings.Contains(details(v), errHeldOpen.Error()) {
		t.Errorf("kept closed: exit %d\n%s", v.Exit, details(v))
	}
	for what, message := range map[string]func(w *world){
		"filed under nobody":      func(w *world) { w.malformed(nil) },
		"filed under an instance": func(w *world) { w.unreadable(w.tag("support-1")) },
	} {
		w := newWorld(t, "acme")
		w.agent("support-1").send(1)
		message(w.clock("09:00"))
		w.clock("11:00").access()
		if v := verify(t, w.bundle("08:30", "10:00"), w.policy()); strings.Contains(details(v), errBlank.Error()) != (what == "filed under an instance") {
			t.Errorf("%s: exit %d\n%s", what, v.Exit, details(v))
		}
	}
}

// unreadable is a message that nobody can read, filed under an instance all the same.
func (w *world) unreadable(tag chain.Hash) {
	m := &stored{verdict: chain.Malformed}
	m.First = w.chain.Size()
	m.Leaves = [][]byte{w.append(chain.Entry{Time: int64(w.now), Kind: chain.KindNone, Verdict: chain.Malformed, Instance: tag, Event: chain.EventHash(nil)})}
	m.Events = []Event{{}}
	w.messages = append(w.messages, m)
}

// An epoch whose first batch is missing has a gap, though its second names the end of the epoch before.
func TestAnEpochWithoutItsBeginning(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(1)
	end := a.newEpoch().previous
	a.send(1, lost).send(1, stating(func(s *eventv1.BatchStatement) { s.PreviousEpoch = end })).say(a.closing())
	w.clock("11:00").access()
	v := verify(t, w.bundle("08:30", "10:00"), w.policy())
	want{ExitGaps, Gaps, 3}.check(t, v)
	if v.Verdicts[chain.Gap.String()] != 1 {
		t.Errorf("%v", v.Verdicts)
	}
}

// A reason that is not in the account is named, and not only that the numbers differ.
func TestWithheldForNoReason(t *testing.T) {
	w := exported(t)
	bad := repack(t, w.export, w.bundle("08:30", "10:30"), editOpening(0, func(o *openingRecord) { o.state, o.reason = stateWithheld, 9 }))
	if v := verify(t, bad, w.policy()); !strings.Contains(details(v), errReason.Error()) {
		t.Errorf("exit %d\n%s", v.Exit, details(v))
	}
}

func TestIsolationVerdictJSON(t *testing.T) {
	b, err := (&IsolationVerdict{Version: VerdictVersion}).JSON()
	if err != nil || !bytes.Contains(b, []byte(`"version": 1`)) {
		t.Errorf("%v\n%s", err, b)
	}
}
