package vault_test

import (
	"errors"
	"testing"

	"github.com/agentcustody/custody/signer/vault"
)

// What is sealed after Retire survives an erasure of what was sealed before it.
func TestRetireThenDestroyThrough(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	old := ensure(t, v, "alice", "bob")
	before := seal(t, old[0], "before")
	last, err := v.Retire(tenant, "alice")
	if err != nil || last != 1 {
		t.Fatalf("retired %d, %v", last, err)
	}
	if _, err := vault.Open(old[0], aad, before); err != nil {
		t.Errorf("retired is not destroyed: %v", err)
	}
	fresh := ensure(t, v, "alice")[0]
	after := seal(t, fresh, "after")
	for range 2 {
		if err := v.DestroyThrough(tenant, "alice", last); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vault.Open(old[0], aad, before); !errors.Is(err, vault.ErrErased) {
		t.Errorf("open what is gone: %v", err)
	}
	for range 2 {
		key, err := v.Get(tenant, "alice", 2)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := vault.Open(key, aad, after); err != nil || string(got) != "after" {
			t.Errorf("open what stays: %q, %v", got, err)
		}
		if _, err := v.Get(tenant, "alice", 1); !errors.Is(err, vault.ErrErased) {
			t.Errorf("get what is gone: %v", err)
		}
		if got := ensure(t, v, "alice", "bob"); got[0].Generation() != 2 || got[1].Generation() != 1 {
			t.Errorf("generations %v", got)
		}
		v = reopen(t, v, dir)
	}
}

// A vault that was restored from an older copy gives out no generation that the log says is gone.
func TestDestroyThroughWhatThisVaultNeverHad(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	ensure(t, v, "alice")
	for subject, through := range map[string]uint32{"alice": 4, "carol": 2} {
		if err := v.DestroyThrough(tenant, subject, through); err != nil {
			t.Fatal(err)
		}
	}
	v = reopen(t, v, dir)
	if got := ensure(t, v, "alice", "carol"); got[0].Generation() != 5 || got[1].Generation() != 3 {
		t.Errorf("generations %v", got)
	}
}

func TestRetireWithoutAKey(t *testing.T) {
	v := open(t, t.TempDir())
	if last, err := v.Retire("nobody", "alice"); last != 0 || err != nil {
		t.Errorf("unknown tenant: %d, %v", last, err)
	}
	ensure(t, v, "bob")
	if last, err := v.Retire(tenant, "alice"); last != 0 || err != nil {
		t.Errorf("unknown subject: %d, %v", last, err)
	}
	destroy(t, v, "bob", 1)
	if last, err := v.Retire(tenant, "bob"); last != 0 || err != nil {
		t.Errorf("erased subject: %d, %v", last, err)
	}
	for _, subject := range []string{"", string(make([]byte, vault.MaxSubject+1))} {
		if _, err := v.Retire(tenant, subject); !errors.Is(err, vault.ErrName) {
			t.Errorf("retire %d bytes: %v", len(subject), err)
		}
		if err := v.DestroyThrough(tenant, subject, 1); !errors.Is(err, vault.ErrName) {
			t.Errorf("destroy %d bytes: %v", len(subject), err)
		}
	}
}
