package object

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/access/content"
)

func TestFreshUnderTheCurrentKey(t *testing.T) {
	b := newBench(t, 100)
	notes, generation, err := b.Fresh(&b.ref)
	if diff := cmp.Diff(b.notes, notes); diff != "" || generation != 1 || err != nil {
		t.Errorf("generation %d, %v\n%s", generation, err, diff)
	}
	b.claim()
	if _, err := b.vault.Retire("acme", content.SubjectKey("jane")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Fresh(&b.ref); !errors.Is(err, ErrMissing) {
		t.Errorf("under a retired key: %v", err)
	}
	if _, err := b.Stat(&b.ref); err != nil {
		t.Errorf("it can be read until its key is gone: %v", err)
	}
	b.put()
	if _, generation, err := b.Fresh(&b.ref); generation != 2 || err != nil {
		t.Errorf("put again: generation %d, %v", generation, err)
	}
	b.claim()
	if err := b.vault.DestroyThrough("acme", content.SubjectKey("jane"), 1); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(&b.ref, &b.notes.Salt); err != nil {
		t.Errorf("it went with the earlier key: %v", err)
	}
}

func TestDiscard(t *testing.T) {
	b := newBench(t, 100)
	for range 2 {
		if err := b.Discard([]Ref{b.ref}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.Fresh(&b.ref); !errors.Is(err, ErrMissing) {
		t.Errorf("discarded: %v", err)
	}
	b.put()
	b.claim()
	if err := b.Discard([]Ref{b.ref}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(&b.ref); err != nil {
		t.Errorf("of a batch: %v", err)
	}
}
