package event_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestSealedDigestIsTheFormula writes the formula out once more.
func TestSealedDigestIsTheFormula(t *testing.T) {
	id, salt, value := event.ID(event.Example("execution.proposed").Id), [32]byte{1, 2, 3}, []byte("value")
	in := []byte("custody/sealed/v1\x00")
	for _, part := range [][]byte{id[:], []byte("arguments"), []byte("text/plain"), salt[:], value} {
		in = append(binary.BigEndian.AppendUint32(in, uint32(len(part))), part...)
	}
	if got := event.SealedDigest(id, "arguments", "text/plain", &salt, value); got != sha256.Sum256(in) {
		t.Errorf("got %x", got)
	}
}

func TestCheckOpening(t *testing.T) {
	type op = *eventv1.Opening
	type ev = *eventv1.Event
	key := event.ExampleFingerprintKey()
	for _, c := range []struct {
		change func(e ev, o op)
		want   string
	}{
		{func(ev, op) {}, ""},
		{func(_ ev, o op) { o.Path = "result" }, "sealed: has no field for the opening"},
		{func(_ ev, o op) { o.Value[0] ^= 1 }, "sealed[0].digest: does not match the opened value"},
		{func(_ ev, o op) { o.Salt[0] ^= 1 }, "sealed[0].digest: does not match the opened value"},
		{func(_ ev, o op) { o.Salt = o.Salt[1:] }, "sealed[0].digest: opening has no salt"},
		{func(_ ev, o op) { o.Value = o.Value[1:] }, "sealed[0].size: is not that of the opened value"},
		{func(e ev, _ op) { e.Sealed[0].MediaType = "text/html" }, "sealed[0].digest: does not match the opened value"},
		{func(e ev, _ op) { e.Id = event.Example("execution.started").Id }, "sealed[0].digest: does not match the opened value"},
		{func(e ev, _ op) { e.Fingerprints[0].Value[0] ^= 1 }, "fingerprints[0]: is not that of the opened value"},
		{func(e ev, _ op) { e.Fingerprints[1].KeyId = 2 }, "fingerprints[1]: is not that of the opened value"},
		{func(e ev, _ op) { e.Fingerprints = nil }, "fingerprints[0]: is not that of the opened value"},
		{func(e ev, _ op) { e.Fingerprints = e.Fingerprints[1:] }, "fingerprints[0]: is not that of the opened value"},
		{func(e ev, _ op) { e.Fingerprints = append(e.Fingerprints, e.Fingerprints[1]) }, "fingerprints[2]: is of nothing in the opened value"},
	} {
		e, o := event.Example("execution.proposed"), event.ExampleOpening("execution.proposed", 0)
		c.change(e, o)
		if err := event.CheckOpening(e, o, key, 1); message(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestFingerprintsAreNotCheckedWithoutTheKey(t *testing.T) {
	e, o := event.Example("execution.proposed"), event.ExampleOpening("execution.proposed", 0)
	e.Fingerprints = nil
	if err := event.CheckOpening(e, o, nil, 0); err != nil {
		t.Error(err)
	}
}

// TestOpeningsOfACrowdedEvent: an event has room for so many fingerprints; the check comes to the same choice as the emitter.
func TestOpeningsOfACrowdedEvent(t *testing.T) {
	key, salt := event.ExampleFingerprintKey(), [32]byte{7}
	e := event.Example("execution.started")
	values := map[string][]byte{"a": manyCodes(0, 500), "b": []byte("nothing to see"), "c": manyCodes(500, 500), "d": manyCodes(1000, 2)}
	for _, path := range []string{"a", "b", "c", "d"} {
		digest := event.SealedDigest(event.ID(e.Id), path, "text/plain", &salt, values[path])
		e.Sealed = append(e.Sealed, &eventv1.Sealed{Path: path, MediaType: "text/plain", Size: uint64(len(values[path])), Digest: digest[:]})
		e.Fingerprints = event.Fingerprints(key, 1, path, values[path], e.Fingerprints)
	}
	if n := len(e.Fingerprints); n != event.MaxFingerprints {
		t.Fatalf("%d fingerprints", n)
	}
	if err := event.Validate(e); err != nil {
		t.Fatal(err)
	}
	for path, value := range values {
		if err := event.CheckOpening(proto.CloneOf(e), &eventv1.Opening{Path: path, Salt: salt[:], Value: value}, key, 1); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
