package evidence

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// parses says whether bytes are a record, and the error is always ErrRecord.
func parses[R any](t *testing.T, parse func([]byte) (R, error)) func(name string, b []byte, want bool) {
	return func(name string, b []byte, want bool) {
		t.Helper()
		if _, err := parse(b); (err == nil) != want || err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A record of a message has its form, and nothing before it or after it.
func TestBatchRecords(t *testing.T) {
	check := parses(t, parseBatchRecord)
	statement, signature := []byte("statement"), make([]byte, event.SignatureSize)
	for name, test := range map[string]struct {
		r    batchRecord
		want bool
	}{
		"a batch":               {batchRecord{1, formEvents, statement, signature, nil}, true},
		"a part of one":         {batchRecord{1, formEvents, statement, signature, make([]chain.Hash, 2)}, true},
		"a message":             {batchRecord{1, formWhole, statement, signature, nil}, true},
		"a malformed one":       {batchRecord{1, formWhole, nil, nil, nil}, true},
		"a part of a message":   {batchRecord{1, formWhole, statement, signature, make([]chain.Hash, 1)}, false},
		"a batch of nothing":    {batchRecord{1, formEvents, nil, nil, nil}, false},
		"others":                {batchRecord{1, formOthers, statement, signature, nil}, false},
		"another form":          {batchRecord{1, 3, statement, signature, nil}, false},
		"the last leaf":         {batchRecord{chain.MaxSize - 1, formEvents, statement, signature, nil}, true},
		"after the last leaf":   {batchRecord{chain.MaxSize, formEvents, statement, signature, nil}, false},
		"the longest statement": {batchRecord{1, formEvents, make([]byte, event.MaxStatement), signature, nil}, true},
		"a longer one":          {batchRecord{1, formEvents, make([]byte, event.MaxStatement+1), signature, nil}, false},
	} {
		b := test.r.append(nil)
		check(name, b, test.want)
		check(name+", and a byte", append(b, 0), false)
		check(name+", but a byte", b[:len(b)-1], false)
	}
	check("nothing", nil, false)
}

// So does one of an event, and one of a field.
func TestEventAndOpeningRecords(t *testing.T) {
	check := parses(t, func(b []byte) (r eventRecord, err error) { err = r.parse(b); return r, err })
	for name, test := range map[string]struct {
		b    []byte
		want bool
	}{
		"here": {[]byte{byte(stateHere), 7}, true}, "here, of no bytes": {[]byte{byte(stateHere)}, true},
		"held": {[]byte{byte(stateHeld)}, true}, "held, and more": {[]byte{byte(stateHeld), 7}, false},
		"expired": {[]byte{byte(stateExpired)}, true}, "outside": {[]byte{byte(stateOutside)}, true},
		"withheld": {[]byte{byte(stateWithheld), 0, 1}, true}, "withheld for no reason": {[]byte{byte(stateWithheld)}, false},
		"withheld, cut": {[]byte{byte(stateWithheld), 0}, false}, "withheld, and more": {[]byte{byte(stateWithheld), 0, 1, 2}, false},
		"erased": {[]byte{byte(stateErased)}, false}, "no state": {[]byte{0}, false}, "nothing": {nil, false},
	} {
		check(name, test.b, test.want)
	}
	checkOpening := parses(t, parseOpeningRecord)
	salt := make([]byte, event.SaltSize)
	for name, r := range map[string]openingRecord{
		"withheld": {index: 1, field: 2, state: stateWithheld, reason: 3}, "erased": {index: 1, field: 2, state: stateErased, tombstone: 3, generation: 4},
		"here": {index: 1, state: stateHere, salt: salt},
	} {
		b := r.append(nil)
		checkOpening(name, b, true)
		checkOpening(name+", cut", b[:len(b)-1], false)
		if r.state != stateHere {
			checkOpening(name+", and more", append(b, 0), false)
		}
		b[10] = 9
		checkOpening(name+", of another state", b, false)
	}
	checkOpening("nothing", nil, false)
}

// A record from outside the range shows leaves in order, with proofs that are short enough, and events only of batches that are whole.
func TestProvenRecords(t *testing.T) {
	check := parses(t, parseProvenRecord)
	leaf := func(position uint32, path int, event string) provenLeaf {
		return provenLeaf{position, make([]byte, chain.LeafSize), make([]chain.Hash, path), []byte(event)}
	}
	for name, test := range map[string]struct {
		edit func(*provenRecord)
		want bool
	}{
		"right":                   {func(*provenRecord) {}, true},
		"the last leaf":           {func(r *provenRecord) { r.first = chain.MaxSize - 1 }, true},
		"after the last leaf":     {func(r *provenRecord) { r.first = chain.MaxSize }, false},
		"of no statement":         {func(r *provenRecord) { r.statement, r.signature = nil, nil }, false},
		"the longest statement":   {func(r *provenRecord) { r.statement = make([]byte, event.MaxStatement) }, true},
		"a longer one":            {func(r *provenRecord) { r.statement = make([]byte, event.MaxStatement+1) }, false},
		"the most hashes":         {func(r *provenRecord) { r.hashes = make([]chain.Hash, event.MaxBatchEvents) }, true},
		"more":                    {func(r *provenRecord) { r.hashes = make([]chain.Hash, event.MaxBatchEvents+1) }, false},
		"nothing is shown":        {func(r *provenRecord) { r.shown = nil }, false},
		"two are shown":           {func(r *provenRecord) { r.shown = append(r.shown, leaf(1, 0, "")) }, true},
		"one is shown twice":      {func(r *provenRecord) { r.shown = append(r.shown, leaf(0, 0, "")) }, false},
		"the last place":          {func(r *provenRecord) { r.shown[0] = leaf(event.MaxBatchEvents-1, 0, "") }, true},
		"after the last place":    {func(r *provenRecord) { r.shown[0] = leaf(event.MaxBatchEvents, 0, "") }, false},
		"the longest proof":       {func(r *provenRecord) { r.shown[0] = leaf(0, maxPath, "") }, true},
		"a longer one than that":  {func(r *provenRecord) { r.shown[0] = leaf(0, maxPath+1, "") }, false},
		"an event of a whole one": {func(r *provenRecord) { r.shown[0], r.hashes = leaf(1, 0, "event"), make([]chain.Hash, 2) }, true},
		"an event beyond it":      {func(r *provenRecord) { r.shown[0], r.hashes = leaf(2, 0, "event"), make([]chain.Hash, 2) }, false},
		"an event of nothing":     {func(r *provenRecord) { r.shown[0] = leaf(0, 0, "event") }, false},
	} {
		r := &provenRecord{first: 1, statement: []byte("statement"), signature: make([]byte, event.SignatureSize), shown: []provenLeaf{leaf(0, 3, "")}}
		test.edit(r)
		b := r.append(nil)
		check(name, b, test.want)
		check(name+", and a byte", append(slices.Clone(b), 0), false)
		for cut := max(0, len(b)-300); cut < len(b); cut++ {
			check(name+", cut", b[:cut], false)
		}
	}
}

// recordsOf reads records of at most 9 bytes.
func recordsOf(r io.Reader) *records { return &records{name: "file", r: bufio.NewReader(r), limit: 9} }

// A file of records ends behind one of them, and none of them is empty or too long.
func TestFilesOfRecords(t *testing.T) {
	lengths := func(list ...uint32) (b []byte) {
		for _, n := range list {
			b = append(binary.BigEndian.AppendUint32(b, n), make([]byte, n)...)
		}
		return b
	}
	for name, test := range map[string]struct {
		file []byte
		n    int // good records
		ends bool
	}{
		"nothing":            {nil, 0, true},
		"two":                {lengths(1, 8), 2, true},
		"the longest":        {lengths(9, 9), 2, true},
		"a longer one":       {lengths(1, 10), 1, false},
		"an empty one":       {lengths(1, 0, 1), 1, false},
		"cut":                {lengths(1, 8)[:12], 1, false},
		"cut in its size":    {lengths(1, 8)[:7], 1, false},
		"cut after its size": {lengths(1, 8)[:9], 1, false},
	} {
		r, n := recordsOf(bytes.NewReader(test.file)), 0
		var err error
		for {
			var b []byte
			if b, _, err = r.next(nil); b == nil {
				break
			}
			n++
		}
		if n != test.n || (err == nil) != test.ends || err != nil && !errors.Is(err, ErrRecord) || r.count != uint64(test.n) {
			t.Errorf("%s: %d records, %v", name, n, err)
		}
	}
	r := recordsOf(bytes.NewReader(lengths(2, 3)))
	if err := r.atEnd(); !errors.Is(err, ErrRecord) {
		t.Errorf("not at the end: %v", err)
	}
	if err := r.skip(6); err != nil || r.pos != 6 {
		t.Errorf("skip: %v, at %d", err, r.pos)
	}
	if b, _, err := r.next(nil); len(b) != 3 || err != nil || r.pos != 13 {
		t.Errorf("next: %x, %v, at %d", b, err, r.pos)
	}
	if err := r.atEnd(); err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := r.skip(1); !errors.Is(err, ErrRecord) {
		t.Errorf("skip past the end: %v", err)
	}
}

// A file that cannot be read is nobody's malformed record.
func TestFilesOfRecordsThatCannotBeRead(t *testing.T) {
	for name, read := range map[string]func(*records) error{
		"next":   func(r *records) error { _, _, err := r.next(nil); return err },
		"peek":   func(r *records) error { _, err := r.peek(4); return err },
		"skip":   func(r *records) error { return r.skip(4) },
		"at end": func(r *records) error { return r.atEnd() },
	} {
		if err := read(recordsOf(iotest.ErrReader(errBroken))); !errors.Is(err, errBroken) || errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	inside := io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 5, 1}), iotest.ErrReader(errBroken))
	if _, _, err := recordsOf(inside).next(nil); !errors.Is(err, errBroken) || errors.Is(err, ErrRecord) {
		t.Errorf("inside a record: %v", err)
	}
}

// What is read goes behind what is there, in the room that there is.
func TestGrow(t *testing.T) {
	room := make([]byte, 1, 4)
	same, cut := grow(room, 3)
	if len(same) != 4 || len(cut) != 3 || cap(cut) != 3 || &same[1] != &cut[0] || &same[0] != &room[0] {
		t.Errorf("%d of %d", len(cut), len(same))
	}
	if other, cut := grow(same, 1); len(other) != 1 || len(cut) != 1 || cap(cut) != 1 {
		t.Errorf("%d of %d", len(cut), len(other))
	}
}
