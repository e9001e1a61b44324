package spool

import "testing"

// FuzzReplay applies frames of any bodies, with checksums that are right, to a queue's state.
func FuzzReplay(f *testing.F) {
	var s State
	opened := newEpoch{Epoch: Epoch{1}, Opened: []byte("opened")}
	add := func(frames ...[]byte) {
		var script []byte
		for _, frame := range frames {
			body := frame[frameHead:]
			script = append(append(script, body[0], byte(len(body)-1)), body[1:]...)
		}
		f.Add(script)
	}
	add(appendHeader(nil, &s), appendEpoch(nil, &opened), AppendEvent(nil, []byte("e"), []Opening{{Path: "p"}}),
		appendStatement(nil, &Statement{Number: 1, First: 1, Count: 2}), appendAck(nil, End{Seq: 2}))
	opened.Removed = []Span{{2, 3}}
	add(appendHeader(nil, &State{Epoch: Epoch{2}, Last: 4, Removed: []Span{{1, 2}}}), appendEpoch(nil, &opened))
	f.Fuzz(func(t *testing.T, script []byte) {
		q := &Queue{segments: []segment{{}}}
		for len(script) >= 2 {
			kind, n := frameType(script[0]), min(int(script[1]), len(script)-2)
			body := script[2 : 2+n]
			script = script[2+n:]
			if kind == headerFrame {
				if h, err := parseHeader(body); err == nil {
					q.join(&h)
				}
				continue
			}
			_ = q.apply(kind, body)
			checkState(t, q)
		}
	})
}

func checkState(t *testing.T, q *Queue) {
	s := q.State()
	if err := s.check(); err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	if s.Last > s.Base && s.LastSeq() > 1 {
		if p := s.PlaceOf(s.LastSeq()); p > s.Last || s.isRemoved(p) {
			t.Fatalf("%+v: the newest event is at %d", s, p)
		}
	}
	q.Whole()
	q.Drained()
	q.Missing()
}
