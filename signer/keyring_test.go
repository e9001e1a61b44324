package signer_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

func enrol(t testing.TB, r *signer.Keyring, n byte, v signer.Validity) signer.KeyID {
	t.Helper()
	err := r.Add(signer.Enrolment{Key: key(n).Public(), Instance: "agent", Class: "agent", Validity: v})
	if err != nil {
		t.Fatal(err)
	}
	return key(n).ID()
}

func TestValidityByIndex(t *testing.T) {
	r := signer.NewKeyring()
	id := enrol(t, r, 1, signer.Validity{From: 10, To: 20, SuspectFrom: 15})
	for index, want := range map[chain.Index]signer.Status{
		0: signer.NotYet, 9: signer.NotYet, 10: signer.Valid, 14: signer.Valid, 15: signer.Suspect,
		19: signer.Suspect, 20: signer.Revoked, 1 << 60: signer.Revoked,
	} {
		if _, got := r.At(id, index); got != want {
			t.Errorf("at %d: %s, want %s", index, got, want)
		}
	}
	if _, got := r.At(key(2).ID(), 12); got != signer.Unknown {
		t.Errorf("stranger is %s", got)
	}
}

func TestOpenValidity(t *testing.T) {
	r := signer.NewKeyring()
	id := enrol(t, r, 1, signer.Validity{})
	for _, index := range []chain.Index{0, 1, 1 << 60} {
		if _, got := r.At(id, index); got != signer.Valid || !got.Counts() {
			t.Errorf("at %d: %s", index, got)
		}
	}
}

func TestKeysAreEnrolledOnce(t *testing.T) {
	r := signer.NewKeyring()
	id := enrol(t, r, 1, signer.Validity{From: 1})
	if err := r.Revoke(id, 5, 0); err != nil {
		t.Fatal(err)
	}
	err := r.Add(signer.Enrolment{Key: key(1).Public(), Validity: signer.Validity{From: 9}})
	if !errors.Is(err, signer.ErrKeyKnown) {
		t.Errorf("a revoked key came back: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	r := signer.NewKeyring()
	for name, c := range map[string]struct {
		e    signer.Enrolment
		want error
	}{
		"empty validity":      {signer.Enrolment{Key: key(1).Public(), Validity: signer.Validity{From: 5, To: 5}}, signer.ErrValidity},
		"suspect before from": {signer.Enrolment{Key: key(1).Public(), Validity: signer.Validity{From: 5, SuspectFrom: 4}}, signer.ErrValidity},
		"small order":         {signer.Enrolment{}, signer.ErrKey},
	} {
		if err := r.Add(c.e); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if r.Len() != 0 {
		t.Error("a refused key was enrolled")
	}
}

func TestRevoke(t *testing.T) {
	r := signer.NewKeyring()
	id := enrol(t, r, 1, signer.Validity{From: 10})
	steps := []struct {
		to, suspect chain.Index
		want        signer.Validity
		err         error
	}{
		{10, 0, signer.Validity{From: 10}, signer.ErrValidity},
		{0, 0, signer.Validity{From: 10}, signer.ErrValidity},
		{30, 25, signer.Validity{From: 10, To: 30, SuspectFrom: 25}, nil},
		{40, 0, signer.Validity{From: 10, To: 30, SuspectFrom: 25}, nil},
		{40, 3, signer.Validity{From: 10, To: 30, SuspectFrom: 10}, nil},
	}
	for _, s := range steps {
		if err := r.Revoke(id, s.to, s.suspect); !errors.Is(err, s.err) {
			t.Errorf("revoke at %d: %v, want %v", s.to, err, s.err)
		}
		e, _ := r.Lookup(id)
		if diff := cmp.Diff(s.want, e.Validity); diff != "" {
			t.Errorf("revoke at %d: %s", s.to, diff)
		}
	}
	if err := r.Revoke(key(2).ID(), 5, 0); !errors.Is(err, signer.ErrKeyUnknown) {
		t.Errorf("revoke a stranger: %v", err)
	}
}

// However often a key is revoked, no leaf that did not count counts later.
func TestRevokingNeverWidens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := signer.NewKeyring()
		id := enrol(t, r, 1, signer.Validity{From: 5})
		for range 4 {
			before, _ := r.Lookup(id)
			_ = r.Revoke(id, drawIndex(rt), drawIndex(rt))
			after, _ := r.Lookup(id)
			for i := range chain.Index(30) {
				if after.Validity.At(i).Counts() && !before.Validity.At(i).Counts() {
					rt.Fatalf("leaf %d counts again: %+v, then %+v", i, before.Validity, after.Validity)
				}
			}
		}
	})
}

func drawIndex(rt *rapid.T) chain.Index {
	return chain.Index(rapid.Uint64Range(0, 29).Draw(rt, "index"))
}

func TestOrderAndClone(t *testing.T) {
	r := signer.NewKeyring()
	for n := range byte(50) {
		enrol(t, r, n, signer.Validity{From: 1})
	}
	clone := r.Clone()
	enrol(t, r, 99, signer.Validity{})
	if err := r.Revoke(key(1).ID(), 7, 0); err != nil {
		t.Fatal(err)
	}
	if _, status := clone.At(key(1).ID(), 8); clone.Len() != 50 || status != signer.Valid {
		t.Error("changing a keyring changed its clone")
	}
	var last signer.KeyID
	count := 0
	for id, e := range clone.All() {
		if count++; bytes.Compare(last[:], id[:]) >= 0 || e.Key.ID() != id {
			t.Errorf("%s follows %s", id, last)
		}
		last = id
	}
	if count != 50 {
		t.Errorf("%d keys", count)
	}
	for range clone.All() {
		break // stopping early must not panic
	}
}
