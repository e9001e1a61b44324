package query

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
)

// safe is a vault with two keys of bob and one of the tenant, and an event whose one sealed field is about bob.
type safe struct {
	t     *testing.T
	vault *vault.Vault
	event *eventv1.Event
	salt  [event.SaltSize]byte
}

const secret = "where is my order?"

func newSafe(t *testing.T) *safe {
	t.Helper()
	v, err := vault.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	id := event.NewID(time.Now(), nil)
	s := &safe{t: t, vault: v, salt: [event.SaltSize]byte{7}}
	digest := event.SealedDigest(id, "content", "text/plain", &s.salt, []byte(secret))
	s.event = &eventv1.Event{Id: id[:], Sealed: []*eventv1.Sealed{{
		Path: "content", MediaType: "text/plain", Size: uint64(len(secret)), Subject: "bob", Digest: digest[:],
	}}}
	return s
}

// seal encrypts a plaintext as the door does, under bob's current key.
func (s *safe) seal(plaintext string) store.Opening {
	s.t.Helper()
	keys, err := s.vault.Ensure("acme", []string{content.SubjectKey("bob")})
	if err != nil {
		s.t.Fatal(err)
	}
	aad := content.AppendOpeningData(nil, "acme", event.ID(s.event.Id), "content")
	sealed, err := vault.Seal(keys[0], aad, []byte(plaintext))
	if err != nil {
		s.t.Fatal(err)
	}
	return store.Opening{Path: "content", Subject: "bob", Generation: keys[0].Generation(), Ciphertext: sealed}
}

// destroy ends bob's key, so that the next is of another generation.
func (s *safe) destroy() {
	s.t.Helper()
	if _, err := s.vault.Destroy("acme", content.SubjectKey("bob")); err != nil {
		s.t.Fatal(err)
	}
}

// Tombstones of bob after the event, which is leaf 7, and before it.
const (
	buried       = `{"generation":1,"since":9,"at":1}`
	buriedBefore = `{"generation":1,"since":3,"at":1}`
)

func TestStateOfAField(t *testing.T) {
	changed := func(o store.Opening, change func(*store.Opening)) []store.Opening {
		change(&o)
		return []store.Opening{o}
	}
	tests := map[string]struct {
		openings  func(s *safe, right store.Opening) []store.Opening
		tombstone string // of bob, as the registry stores it
		want      string
	}{
		"right":      {func(_ *safe, o store.Opening) []store.Opening { return []store.Opening{o} }, "", disclosed},
		"no opening": {func(*safe, store.Opening) []store.Opening { return nil }, "", withheld},
		"another value": {func(s *safe, _ store.Opening) []store.Opening {
			return []store.Opening{s.seal(string(s.salt[:]) + "where is your order?")}
		}, "", withheld},
		"shorter than a salt": {func(s *safe, _ store.Opening) []store.Opening { return []store.Opening{s.seal("short")} }, "", withheld},
		"of another field": {func(_ *safe, o store.Opening) []store.Opening {
			return changed(o, func(o *store.Opening) { o.Path = "result" })
		}, "", withheld},
		"flipped": {func(_ *safe, o store.Opening) []store.Opening {
			return changed(o, func(o *store.Opening) { o.Ciphertext[0] ^= 1 })
		}, "", withheld},
		"of a key that is not there": {func(_ *safe, o store.Opening) []store.Opening {
			return changed(o, func(o *store.Opening) { o.Generation = 9 })
		}, "", withheld},
		"key gone, no tombstone": {func(s *safe, o store.Opening) []store.Opening { s.destroy(); return []store.Opening{o} }, "", withheld},
		"key gone, tombstone": {func(s *safe, o store.Opening) []store.Opening {
			s.destroy()
			return []store.Opening{o}
		}, buried, erased},
		"key left, tombstone":       {func(_ *safe, o store.Opening) []store.Opening { return []store.Opening{o} }, buried, erased},
		"dropped, tombstone":        {func(*safe, store.Opening) []store.Opening { return nil }, buried, erased},
		"dropped after the erasure": {func(*safe, store.Opening) []store.Opening { return nil }, buriedBefore, withheld},
		"key gone, came after the tombstone": {func(s *safe, o store.Opening) []store.Opening {
			s.destroy()
			return []store.Opening{o}
		}, buriedBefore, withheld},
		"sealed after the erasure": {func(s *safe, _ store.Opening) []store.Opening {
			s.destroy()
			return []store.Opening{s.seal(string(s.salt[:]) + secret)}
		}, buried, disclosed},
		"unreadable, after the erasure": {func(s *safe, _ store.Opening) []store.Opening {
			s.destroy()
			return []store.Opening{s.seal("short")}
		}, buried, withheld},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSafe(t)
			v := &view{service: New(nil, nil, s.vault, nil), tenant: "acme", registry: registry.New()}
			if test.tombstone != "" {
				if err := v.registry.Load([]registry.Entry{{Key: "erased/bob", Value: []byte(test.tombstone)}}); err != nil {
					t.Fatal(err)
				}
			}
			got := v.field(7, s.event, s.event.Sealed[0], test.openings(s, s.seal(string(s.salt[:])+secret)))
			value := ""
			if test.want == disclosed {
				value = secret
			}
			if diff := cmp.Diff([]string{test.want, value}, []string{got.GetState(), string(got.GetValue())}); diff != "" {
				t.Errorf("field (-want +got):\n%s", diff)
			}
		})
	}
}
