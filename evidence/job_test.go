package evidence

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// found are the checks that a worker finds wrong, with the first words of why.
func found(j *job) (list []string) {
	for _, p := range j.problems {
		list = append(list, p.check+": "+p.err.Error())
	}
	return list
}

// A message that is kept whole is one that nobody could read, or a second story; its leaf says which.
func TestMessagesKeptWhole(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	a.send(2)
	a.again()
	second := w.messages[len(w.messages)-1]
	statement, err := event.ParseStatement(second.Statement)
	w.must(err)
	leaf, err := chain.ParseLeaf(second.Leaves[0])
	w.must(err)
	garbled := []byte("garbled")
	malformed := chain.Leaf{Index: leaf.Index, Time: leaf.Time, Kind: chain.KindNone, Verdict: chain.Malformed, Event: chain.EventHash(garbled)}
	type edit func(*job)
	none := func(*job) {}
	for name, test := range map[string]struct {
		malformed bool
		edit      edit
		want      []string
	}{
		"a second story":           {false, none, nil},
		"malformed":                {true, none, nil},
		"of a kind":                {true, func(j *job) { j.leaves[0].Kind = chain.KindData }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"at another place":         {true, func(j *job) { j.leaves[0].Position = 1 }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"accepted":                 {true, func(j *job) { j.leaves[0].Verdict = chain.Accepted }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"malformed, of a batch":    {true, func(j *job) { j.leaves[0].Batch[0] = 1 }, []string{CheckVerdict + ": " + errBlank.Error()}},
		"malformed, of an agent":   {true, func(j *job) { j.leaves[0].Instance[0] = 1 }, []string{CheckVerdict + ": " + errBlank.Error()}},
		"malformed, and signed":    {false, func(j *job) { j.leaves[0].Verdict = chain.Malformed }, []string{CheckVerdict + ": " + errBlank.Error()}},
		"a second story, unsigned": {true, func(j *job) { j.leaves[0].Verdict = chain.Equivocation }, []string{CheckVerdict + ": " + errBlank.Error()}},
		"of another batch":         {false, func(j *job) { j.leaves[0].Batch[0] ^= 1 }, []string{CheckBatch + ": " + errLeafBatch.Error()}},
		"other bytes":              {true, func(j *job) { j.events[0].bytes = []byte("other") }, []string{CheckContent + ": " + errMessage.Error()}},
		"other bytes, not here":    {true, func(j *job) { j.events[0] = eventRecord{state: stateWithheld} }, nil},
		"another message": {false, func(j *job) {
			j.events[0].bytes = garbled
			j.leaves[0].Event = chain.EventHash(garbled)
		}, []string{CheckEvent + ": " + errMessage.Error()}},
		"another's message": {false, func(j *job) { j.record.statement = []byte("another") }, []string{CheckEvent + ": " + errMessage.Error()}},
		"held":              {false, func(j *job) { j.events[0] = eventRecord{state: stateHeld} }, []string{CheckEvent + ": " + errHeldOpen.Error()}},
		"withheld":          {false, func(j *job) { j.events[0] = eventRecord{state: stateWithheld} }, nil},
		"expired":           {false, func(j *job) { j.events[0] = eventRecord{state: stateExpired} }, nil},
		"with a field":      {true, func(j *job) { j.openings = make([]openingRecord, 1) }, []string{CheckRedactions + ": " + errField.Error()}},
	} {
		j := &job{record: batchRecord{form: formWhole}, leaves: []chain.Leaf{malformed}, events: []eventRecord{{state: stateHere, bytes: garbled}}}
		if !test.malformed {
			j.record.statement, j.statement, j.digest = second.Statement, statement, event.BatchDigest(second.Statement)
			j.leaves[0], j.events[0].bytes = leaf, second.Events[0].Bytes
		}
		test.edit(j)
		(&worker{scope: new(Scope), reasons: 1}).whole(j)
		if diff := cmp.Diff(test.want, found(j)); diff != "" || j.count.Records != 1 {
			t.Errorf("%s: %d records\n%s", name, j.count.Records, diff)
		}
	}
}

// agentJob is the message of a log with two calls of one field each, read by a worker.
func agentJob(t *testing.T, tell func(w *world, a *sender)) (*worker, *job) {
	t.Helper()
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	tell(w, a)
	m := w.messages[len(w.messages)-1]
	statement, err := event.ParseStatement(m.Statement)
	w.must(err)
	j := &job{
		record: batchRecord{m.First, formEvents, m.Statement, m.Signature, nil}, statement: statement, digest: event.BatchDigest(m.Statement),
		from: m.First, to: m.end(),
	}
	for i, b := range m.Leaves {
		j.leafBytes = append(j.leafBytes, b...)
		j.events = append(j.events, eventRecord{state: stateHere, bytes: m.Events[i].Bytes})
		e, err := event.Parse(m.Events[i].Bytes)
		if err != nil {
			continue
		}
		for field, s := range e.GetSealed() {
			o := w.openings[[2]string{string(e.Id), s.Path}]
			j.openings = append(j.openings, openingRecord{index: m.First + chain.Index(i), field: uint16(field), state: stateHere, salt: o.Salt[:], value: o.Value})
		}
	}
	return &worker{scope: &Scope{Tenant: "acme", To: at("23:00")}, reasons: 2, keys: new(sync.Map), pair: chain.NewPair()}, j
}

func twoCalls(_ *world, a *sender) {
	a.batch([]*eventv1.Event{a.call("customer", "{}"), a.call("customer", "{}")})
}

// What a worker finds wrong in a batch.
func TestWhatAWorkerFinds(t *testing.T) {
	withheld := func(reason uint16) eventRecord { return eventRecord{state: stateWithheld, reason: reason} }
	absent := func(i int, r eventRecord, v chain.Verdict) func(*job) {
		return func(j *job) {
			j.events[i] = r
			j.openings = slices.DeleteFunc(j.openings, func(o openingRecord) bool { return o.index == j.index(i) })
			setVerdict(j, i, v)
		}
	}
	for name, test := range map[string]struct {
		run  string
		edit func(*job)
		want []string
	}{
		"right":                           {"", func(*job) {}, nil},
		"a leaf of no format":             {"", func(j *job) { j.leafBytes[chain.LeafSize] = 9 }, []string{CheckChain + ": parse leaf: "}},
		"withheld":                        {"", absent(0, withheld(1), chain.Accepted), nil},
		"withheld for no reason":          {"", absent(0, withheld(2), chain.Accepted), []string{CheckRedactions + ": " + errReason.Error()}},
		"a held one":                      {"", absent(0, eventRecord{state: stateHeld}, chain.Held), nil},
		"an accepted one held":            {"", absent(0, eventRecord{state: stateHeld}, chain.Accepted), []string{CheckEvent + ": " + errHeldOpen.Error()}},
		"a held one withheld":             {"", absent(0, withheld(1), chain.Held), []string{CheckEvent + ": " + errHeldClear.Error()}},
		"a held one that expired":         {"", absent(0, eventRecord{state: stateExpired}, chain.Held), nil},
		"a held one of another run":       {"run-9", absent(0, eventRecord{state: stateOutside}, chain.Held), nil},
		"a held one shown":                {"", func(j *job) { setVerdict(j, 0, chain.Held) }, []string{CheckEvent + ": " + errHeldClear.Error(), CheckRedactions + ": " + errField.Error()}[:1]},
		"outside, of no run":              {"", absent(0, eventRecord{state: stateOutside}, chain.Accepted), []string{CheckSelection + ": " + errHidden.Error()}},
		"a gap within a batch":            {"", func(j *job) { setVerdict(j, 1, chain.Gap) }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"a gap before a batch":            {"", func(j *job) { setVerdict(j, 0, chain.Gap) }, nil},
		"of no kind":                      {"", func(j *job) { absent(0, withheld(1), chain.Accepted)(j); j.leafBytes[kindAt] = byte(chain.KindNone) }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"a second story":                  {"", func(j *job) { setVerdict(j, 0, chain.Equivocation) }, []string{CheckVerdict + ": " + errLeafKind.Error()}},
		"an opening too few":              {"", func(j *job) { j.openings = j.openings[:1] }, []string{CheckRedactions + ": " + errField.Error()}},
		"an opening of another event":     {"", func(j *job) { j.openings[0].index++ }, []string{CheckRedactions + ": " + errField.Error(), CheckOpening + ": sealed[0].digest: does not match the opened value", CheckRedactions + ": " + errField.Error()}},
		"an opening of another field":     {"", func(j *job) { j.openings[1].field++ }, []string{CheckRedactions + ": " + errField.Error(), CheckRedactions + ": " + errField.Error()}},
		"a field withheld":                {"", func(j *job) { j.openings[0].state, j.openings[0].reason = stateWithheld, 1 }, nil},
		"a field withheld, for no reason": {"", func(j *job) { j.openings[0].state, j.openings[0].reason = stateWithheld, 2 }, []string{CheckRedactions + ": " + errReason.Error()}},
	} {
		w, j := agentJob(t, twoCalls)
		w.scope.Run = test.run
		test.edit(j)
		w.run(j)
		got := found(j)
		got = slices.DeleteFunc(got, func(s string) bool { return s == CheckSelection+": "+errSurplus.Error() }) // of the other run
		for i, want := range test.want {
			if i < len(got) && len(got[i]) > len(want) {
				got[i] = got[i][:len(want)]
			}
		}
		if !slices.Equal(test.want, got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// setVerdict changes the judgement of a leaf.
func setVerdict(j *job, i int, v chain.Verdict) {
	j.leafBytes[i*chain.LeafSize+verdictAt] = byte(v)
}

// Where a leaf has its kind and its judgement.
const (
	kindAt    = 149
	verdictAt = 150
)

// What a worker opens is what was signed: the value with its salt.
func TestWhatOpens(t *testing.T) {
	_, j := agentJob(t, twoCalls)
	e, err := event.Parse(j.events[0].bytes)
	if err != nil {
		t.Fatal(err)
	}
	s := e.GetSealed()[0]
	for name, test := range map[string]struct {
		edit func(*openingRecord)
		want bool
	}{
		"right":         {func(*openingRecord) {}, true},
		"another value": {func(o *openingRecord) { o.value = []byte("[]") }, false},
		"a longer one":  {func(o *openingRecord) { o.value = append(o.value, ' ') }, false},
		"no value":      {func(o *openingRecord) { o.value = nil }, false},
		"another salt":  {func(o *openingRecord) { o.salt = make([]byte, event.SaltSize) }, false},
		"no salt":       {func(o *openingRecord) { o.salt = nil }, false},
	} {
		o := j.openings[0]
		o.value, o.salt = slices.Clone(o.value), slices.Clone(o.salt)
		test.edit(&o)
		if err := opens(e, s, &o); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who is asked about knows when it happened; nobody else is remembered. Who is ahead of the log is counted, but not by a moment.
func TestWhatAWorkerNotes(t *testing.T) {
	w, j := agentJob(t, twoCalls)
	w.run(j)
	if len(j.dated) != 0 {
		t.Errorf("%d are dated, and nobody asked", len(j.dated))
	}
	e, err := event.Parse(j.events[1].bytes)
	if err != nil {
		t.Fatal(err)
	}
	w, j = agentJob(t, twoCalls)
	w.asked = map[event.ID]bool{event.ID(e.GetId()): true}
	if w.run(j); len(j.dated) != 1 || j.dated[0].id != event.ID(e.GetId()) || j.dated[0].seen == nil {
		t.Errorf("%+v", j.dated)
	}
	for ahead, want := range map[int64]uint64{-1: 0, 0: 0, maxAhead: 0, maxAhead + 1: 2, -2 * maxAhead: 0} {
		w, j := agentJob(t, func(w *world, a *sender) {
			x, y := a.call("customer", "{}"), a.call("customer", "{}")
			x.OccurredAt, y.OccurredAt = x.OccurredAt+ahead, y.OccurredAt+ahead
			a.batch([]*eventv1.Event{x, y})
		})
		if w.run(j); j.ahead != want {
			t.Errorf("%d ns: %d are ahead", ahead, j.ahead)
		}
	}
	first := func(w *world, a *sender) {
		a.batch([]*eventv1.Event{a.call("customer", "{}")}, stating(func(s *eventv1.BatchStatement) { s.LastSeen = nil }))
	}
	w, j = agentJob(t, first)
	e, _ = event.Parse(j.events[0].bytes)
	w.asked = map[event.ID]bool{event.ID(e.GetId()): true}
	if w.run(j); len(j.dated) != 1 || j.dated[0].seen != nil {
		t.Errorf("%+v", j.dated)
	}
}

// The end of an epoch is said by the last event of its batch, and Custody's own acts are noted where the log accepted them.
func TestWhatEndsAndWhatActs(t *testing.T) {
	for name, test := range map[string]struct {
		tell   func(w *world, a *sender)
		edit   func(*job)
		closes bool
		system int
	}{
		"the last":     {func(_ *world, a *sender) { a.say(a.envelopeCall(), a.closing()) }, func(*job) {}, true, 0},
		"not the last": {func(_ *world, a *sender) { a.say(a.closing(), a.envelopeCall()) }, func(*job) {}, false, 0},
		"Custody's":    {func(w *world, _ *sender) { w.access() }, func(*job) {}, false, 1},
		"cut behind it": {func(_ *world, a *sender) { a.say(a.closing(), a.envelopeCall()) }, func(j *job) {
			second, _ := chain.ParseLeaf(j.leafBytes[chain.LeafSize:])
			j.record.outside, j.to, j.events = []chain.Hash{second.Event}, j.to-1, j.events[:1]
		}, false, 0},
		"refused": {func(w *world, _ *sender) { w.access() }, func(j *job) { setVerdict(j, 0, chain.KeyInvalid) }, false, 0},
	} {
		w, j := agentJob(t, test.tell)
		test.edit(j)
		if w.run(j); j.closes != test.closes || len(j.system) != test.system {
			t.Errorf("%s: closes %t, %d acts", name, j.closes, len(j.system))
		}
	}
}

// envelopeCall is a call without a sealed field.
func (s *sender) envelopeCall() *eventv1.Event {
	e := s.call("customer", "{}")
	e.Sealed = nil
	return e
}

// A worker verifies what it knows the key of.
func TestWhatAWorkerVerifies(t *testing.T) {
	for name, test := range map[string]struct {
		known bool
		edit  func(*job)
		want  signatureState
	}{
		"unknown": {false, func(*job) {}, unchecked},
		"right":   {true, func(*job) {}, valid},
		"wrong":   {true, func(j *job) { j.record.signature = make([]byte, len(j.record.signature)) }, invalid},
	} {
		var key signer.PublicKey
		w, j := agentJob(t, func(w *world, a *sender) { twoCalls(w, a); key = a.key.Public() })
		if test.known {
			w.keys.Store(key.ID(), key)
		}
		test.edit(j)
		if w.run(j); j.signature != test.want {
			t.Errorf("%s: %d", name, j.signature)
		}
	}
}

// fed is a feeder of a range of leaves, whose files are these bytes.
func fed(s *Scope, batches, events, openings io.Reader) *feeder {
	of := func(r io.Reader, limit int) *records {
		return &records{name: "file", r: bufio.NewReader(r), limit: limit}
	}
	return &feeder{
		scope: s, next: s.Begin, leaves: &leafFile{r: bufio.NewReader(bytes.NewReader(make([]byte, 100*chain.LeafSize)))},
		batches: of(batches, maxBatchRecord), events: of(events, maxEventRecord), openings: of(openings, maxOpeningRecord),
	}
}

// The leaves of a message follow those of the message before.
func TestBoundsOfMessages(t *testing.T) {
	w := newWorld(t, "acme")
	w.agent("support-1").send(3)
	m := w.messages[len(w.messages)-1]
	for name, test := range map[string]struct {
		begin, end chain.Index
		r          batchRecord
		from, to   chain.Index // none if to is 0
	}{
		"a batch":               {5, 9, batchRecord{5, formEvents, m.Statement, nil, nil}, 5, 8},
		"its end":               {6, 9, batchRecord{5, formEvents, m.Statement, nil, make([]chain.Hash, 1)}, 6, 8},
		"its beginning":         {5, 7, batchRecord{5, formEvents, m.Statement, nil, make([]chain.Hash, 1)}, 5, 7},
		"its middle":            {6, 7, batchRecord{5, formEvents, m.Statement, nil, make([]chain.Hash, 2)}, 6, 7},
		"a hash too many":       {5, 9, batchRecord{5, formEvents, m.Statement, nil, make([]chain.Hash, 1)}, 0, 0},
		"a hash too few":        {6, 9, batchRecord{5, formEvents, m.Statement, nil, nil}, 0, 0},
		"after the next":        {5, 9, batchRecord{6, formEvents, m.Statement, nil, nil}, 0, 0},
		"before the range":      {9, 12, batchRecord{5, formEvents, m.Statement, nil, nil}, 0, 0},
		"just before the range": {8, 12, batchRecord{5, formEvents, m.Statement, nil, make([]chain.Hash, 3)}, 0, 0},
		"no statement":          {5, 9, batchRecord{5, formEvents, []byte("no statement"), nil, nil}, 0, 0},
		"a message":             {5, 9, batchRecord{5, formWhole, m.Statement, nil, nil}, 5, 6},
		"a message before it":   {5, 9, batchRecord{4, formWhole, m.Statement, nil, nil}, 0, 0},
		"a malformed one":       {5, 9, batchRecord{5, formWhole, nil, nil, nil}, 5, 6},
		"of no statement":       {5, 9, batchRecord{5, formWhole, []byte("no statement"), nil, nil}, 0, 0},
	} {
		f, j := fed(&Scope{Begin: test.begin, End: test.end}, nil, nil, nil), &job{record: test.r}
		if err := f.bounds(j); (err == nil) != (test.to > 0) || err != nil && !errors.Is(err, ErrRecord) || err == nil && (j.from != test.from || j.to != test.to || f.next != test.to) {
			t.Errorf("%s: [%d, %d), %v", name, j.from, j.to, err)
		}
	}
}

// Events and openings of a message take no more memory than a message may.
func TestMostOfAMessage(t *testing.T) {
	records := func(sizes ...int) io.Reader {
		var b []byte
		for _, n := range sizes {
			b = appendRecord(b, func(b []byte) []byte { return append(b, append([]byte{byte(stateHere)}, make([]byte, n-1)...)...) })
		}
		return bytes.NewReader(b)
	}
	const most = maxEventRecord - 1
	for name, test := range map[string]struct {
		sizes []int
		want  error
	}{
		"the most":    {[]int{most, most - 9, maxMessage - 2*most + 9}, nil},
		"a byte more": {[]int{most, most - 9, maxMessage - 2*most + 10}, ErrRecord},
		"one too few": {[]int{1, 1}, ErrRecord},
	} {
		f, j := fed(&Scope{Begin: 5, End: 8}, nil, records(test.sizes...), nil), &job{from: 5, to: 8, arena: make([]byte, 0, maxMessage+9)}
		if err := f.readEvents(j); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	opening := func(index chain.Index, size int) []byte {
		o := openingRecord{index: index, state: stateHere, salt: make([]byte, event.SaltSize), value: make([]byte, size)}
		return appendRecord(nil, o.append)
	}
	var b []byte
	n, head := 0, 8+2+1+event.SaltSize
	for left := maxMessage; left > 0; n++ {
		size := min(left, maxOpeningRecord)
		if rest := left - size; rest > 0 && rest < head {
			size -= head
		}
		b, left = append(b, opening(chain.Index(n), size-head)...), left-size
	}
	for name, test := range map[string]struct {
		arena int
		want  error
	}{"the most": {0, nil}, "a byte more": {1, ErrRecord}} {
		f, j := fed(&Scope{End: chain.Index(n)}, nil, nil, bytes.NewReader(b)), &job{to: chain.Index(n), arena: make([]byte, test.arena, maxMessage+9)}
		if err := f.readOpenings(j); !errors.Is(err, test.want) {
			t.Errorf("openings, %s: %v", name, err)
		}
	}
}

// A file that cannot be read, or one of no format, ends the reading with its own error.
func TestFeederOfWrongFiles(t *testing.T) {
	broken, empty := iotest.ErrReader(errBroken), bytes.NewReader(nil)
	record := func(b ...byte) io.Reader {
		return bytes.NewReader(appendRecord(nil, func(x []byte) []byte { return append(x, b...) }))
	}
	whole := &batchRecord{first: 5, form: formWhole}
	message := func() io.Reader { return record(whole.append(nil)...) }
	here := func() io.Reader { return record(byte(stateHere), 1) }
	o := openingRecord{index: 5, state: stateHere, salt: make([]byte, event.SaltSize)}
	odd := openingRecord{index: 5, state: 9}
	cut := func(r io.Reader, n int64) io.Reader { return io.MultiReader(io.LimitReader(r, n), broken) }
	for name, test := range map[string]struct {
		batches, events, openings io.Reader
		want                      error
	}{
		"right":                  {message(), here(), record(o.append(nil)...), nil},
		"nothing":                {empty, empty, empty, ErrRecord},
		"messages broken":        {iotest.ErrReader(errBroken), empty, empty, errBroken},
		"a message, and a byte":  {record(append(whole.append(nil), 0)...), here(), empty, ErrRecord},
		"messages of no format":  {record(1), here(), empty, ErrRecord},
		"another message":        {record((&batchRecord{first: 6, form: formWhole}).append(nil)...), here(), empty, ErrRecord},
		"events broken":          {message(), iotest.ErrReader(errBroken), empty, errBroken},
		"events of no format":    {message(), record(byte(stateErased)), empty, ErrRecord},
		"openings broken":        {message(), here(), iotest.ErrReader(errBroken), errBroken},
		"openings broken inside": {message(), here(), cut(record(o.append(nil)...), 20), errBroken},
		"openings of no format":  {message(), here(), record(odd.append(nil)...), ErrRecord},
		"openings cut":           {message(), here(), bytes.NewReader([]byte{0, 0, 0}), ErrRecord},
	} {
		f, j := fed(&Scope{Begin: 5, End: 6}, test.batches, test.events, test.openings), new(job)
		more, err := f.read(j)
		if !errors.Is(err, test.want) || err == nil && !more || errors.Is(err, ErrRecord) && errors.Is(test.want, errBroken) {
			t.Errorf("%s: %t, %v", name, more, err)
		}
	}
	for name, test := range map[string]struct{ batches, events, openings io.Reader }{
		"an event more": {message(), io.MultiReader(here(), here()), empty}, "an opening more": {message(), here(), record(make([]byte, 99)...)},
	} {
		if name == "an opening more" {
			later := openingRecord{index: 6, state: stateHere, salt: make([]byte, event.SaltSize)}
			test.openings = record(later.append(nil)...)
		}
		f := fed(&Scope{Begin: 5, End: 6}, test.batches, test.events, test.openings)
		if more, err := f.read(new(job)); !more || err != nil {
			t.Errorf("%s: %t, %v", name, more, err)
		}
		if more, err := f.read(new(job)); more || !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %t, %v", name, more, err)
		}
	}
}

// Openings are in the order of leaves and fields, and none is of a message before.
func TestOrderOfOpenings(t *testing.T) {
	j := &job{from: 5, to: 9}
	o := func(index chain.Index, field uint16) *openingRecord {
		return &openingRecord{index: index, field: field}
	}
	if j.after(j.openings, o(4, 0)) || !j.after(j.openings, o(5, 0)) {
		t.Error("the first")
	}
	j.openings = []openingRecord{*o(6, 1)}
	for _, test := range []struct {
		o    *openingRecord
		want bool
	}{{o(6, 2), true}, {o(6, 1), false}, {o(6, 0), false}, {o(7, 0), true}, {o(5, 2), false}} {
		if j.after(j.openings, test.o) != test.want {
			t.Errorf("leaf %d, field %d", test.o.index, test.o.field)
		}
	}
}

// One of Custody's own records may be absent where the log refused it, and what it says outlives its message.
func TestCustodysOwnRecords(t *testing.T) {
	for verdict, want := range map[chain.Verdict][]string{chain.Accepted: {CheckAdmission + ": " + errOwn.Error()}, chain.KeyInvalid: nil} {
		w, j := agentJob(t, func(w *world, _ *sender) { w.access() })
		j.events[0] = eventRecord{state: stateExpired}
		setVerdict(j, 0, verdict)
		if w.run(j); !slices.Equal(found(j), want) {
			t.Errorf("%s: %s", verdict, found(j))
		}
	}
	w, j := agentJob(t, func(w *world, _ *sender) { w.access() })
	w.run(j)
	said := j.system[0].event
	want := proto.Clone(said)
	_, next := agentJob(t, twoCalls)
	next.members = j.members
	clear(j.events[0].bytes) // as the next message's are read over them
	if w.run(next); !proto.Equal(said, want) {
		t.Errorf("%s, was %s", said, want)
	}
	j = &job{statement: next.statement}
	if w.note(j, &chain.Leaf{Time: 1}, &eventv1.Event{OccurredAt: math.MinInt64}); j.ahead != 0 {
		t.Error("the beginning of time is ahead")
	}
}

// A long value is left in its file. One that cannot be read there, or is no value, ends the reading.
func TestLongOpenings(t *testing.T) {
	o := openingRecord{index: 5, state: stateHere, salt: make([]byte, event.SaltSize), value: make([]byte, event.MaxSealedInline+1)}
	long := appendRecord(nil, o.append)
	edited := func(state byte) []byte { b := bytes.Clone(long); b[4+8+2] = state; return b }
	broken := func(n int) io.Reader { return io.MultiReader(bytes.NewReader(long[:n]), iotest.ErrReader(errBroken)) }
	for name, test := range map[string]struct {
		file   io.Reader
		want   error
		detail string
	}{
		"right":               {bytes.NewReader(long), nil, ""},
		"broken in its head":  {broken(20), errBroken, "record 0"},
		"broken in its value": {broken(999), errBroken, "record 0"},
		"cut in its value":    {bytes.NewReader(long[:999]), ErrRecord, "record 0"},
		"erased":              {bytes.NewReader(edited(byte(stateErased))), ErrRecord, "record 0"},
		"withheld":            {bytes.NewReader(edited(byte(stateWithheld))), ErrRecord, "record 0"},
		"of no state":         {bytes.NewReader(edited(9)), ErrRecord, "record 0"},
		"twice":               {bytes.NewReader(append(bytes.Clone(long), long...)), ErrRecord, "record 1"},
	} {
		f, j := fed(&Scope{Begin: 5, End: 6}, nil, nil, test.file), &job{from: 5, to: 6}
		f.openings.r = bufio.NewReaderSize(test.file, 512)
		err := f.readOpenings(j)
		if !errors.Is(err, test.want) || err != nil && (errors.Is(err, ErrRecord) != errors.Is(test.want, ErrRecord) || !strings.Contains(err.Error(), test.detail)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (len(j.openings) != 1 || !j.openings[0].long || j.openings[0].at != 4+openingHead || j.openings[0].size != int64(len(o.value))) {
			t.Errorf("%s: %+v", name, j.openings)
		}
	}
}
