package object

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/vault"
)

// bench is a store with one value in it.
type bench struct {
	*Store
	t     testing.TB
	dir   string
	vault *vault.Vault
	ref   Ref
	notes Notes
	value []byte
}

func newBench(t testing.TB, size int) *bench {
	t.Helper()
	v, err := vault.OpenDir(filepath.Join(t.TempDir(), "vault"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "objects"), vault: v, value: bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]}
	if b.Store, err = Open(b.dir, v, 0); err != nil {
		t.Fatal(err)
	}
	b.notes = Notes{Salt: [event.SaltSize]byte{7}, KeyID: 1, Detector: "jwt", Fingerprints: [][event.FingerprintSize]byte{{1}, {2}}}
	b.ref = Ref{Tenant: "acme", Event: event.NewID(time.Now(), nil), Path: "result", MediaType: "text/plain", Subject: "jane", Size: uint64(size)}
	b.ref.Digest = event.SealedDigest(b.ref.Event, b.ref.Path, b.ref.MediaType, &b.notes.Salt, b.value)
	b.put()
	return b
}

func (b *bench) put() {
	b.t.Helper()
	if err := b.Put(&b.ref, &b.notes, b.value); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) files() (all []string) {
	b.t.Helper()
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *bench) claim() {
	b.t.Helper()
	if err := b.Claim([]Ref{b.ref}); err != nil {
		b.t.Fatal(err)
	}
}

func TestThereAndBack(t *testing.T) {
	for _, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 7} {
		b := newBench(t, size)
		notes, err := b.Stat(&b.ref)
		if diff := cmp.Diff(b.notes, notes); diff != "" || err != nil {
			t.Errorf("notes (-want +got): %v\n%s", err, diff)
		}
		var got bytes.Buffer
		if err := b.CopyTo(&got, &b.ref, &b.notes.Salt); err != nil || !bytes.Equal(got.Bytes(), b.value) {
			t.Errorf("%d of %d bytes: %v", got.Len(), size, err)
		}
		stored, err := os.ReadFile(b.files()[0])
		if err != nil || bytes.Contains(stored, []byte("0123456789")) || strings.Contains(b.files()[0], "jane") {
			t.Errorf("not encrypted: %v", err)
		}
	}
}

func TestNamesAndKeeping(t *testing.T) {
	b := newBench(t, 100)
	if got := b.files(); len(got) != 1 || !strings.HasSuffix(got[0], newSuffix) {
		t.Fatalf("after put: %v", got)
	}
	b.put()
	b.claim()
	b.claim()
	b.put()
	if got := b.files(); len(got) != 1 || strings.HasSuffix(got[0], newSuffix) {
		t.Fatalf("after claim: %v", got)
	}
	if n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Errorf("%d swept: %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "acme", ".x"+tempSuffix), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("%d leftovers swept: %v", n, err)
	}
}

// TestOthersFindNothing: what is not exactly this field of this tenant is missing, or does not open.
func TestOthersFindNothing(t *testing.T) {
	for name, change := range map[string]func(*Ref){
		"tenant":   func(r *Ref) { r.Tenant = "zeta" },
		"no name":  func(r *Ref) { r.Tenant = "../acme" },
		"subject":  func(r *Ref) { r.Subject = "joe" },
		"digest":   func(r *Ref) { r.Digest[0] ^= 1 },
		"nothing":  func(r *Ref) { *r = Ref{Tenant: "acme"} },
		"operator": func(r *Ref) { r.Tenant = event.TenantOperator },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 100)
			b.claim()
			other := b.ref
			change(&other)
			_, err := b.Stat(&other)
			claimed := b.Claim([]Ref{other})
			if !errors.Is(err, ErrMissing) || !errors.Is(claimed, ErrMissing) {
				t.Errorf("got %v, %v", err, claimed)
			}
		})
	}
}

func TestEveryChangedByteIsFound(t *testing.T) {
	b := newBench(t, pieceSize+100)
	b.claim()
	path := b.files()[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(&b.ref, &b.notes.Salt); err == nil {
			t.Errorf("%s at %d was not found", what, at)
		}
	}
	for at := 0; at < len(whole); at += 1 + at/40 {
		data := bytes.Clone(whole)
		data[at] ^= 1
		check("a flipped bit", at, data)
		check("an end", at, whole[:at])
	}
	check("more", len(whole), append(bytes.Clone(whole), 0))
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(&b.ref, &b.notes.Salt); err != nil {
		t.Error(err)
	}
	if err := b.Check(&b.ref, &[event.SaltSize]byte{8}); !errors.Is(err, ErrDamaged) {
		t.Errorf("with another salt: %v", err)
	}
}

// TestADamagedObjectIsReplaced when its sender puts it again, and one of an erased subject by one under the next key.
func TestADamagedObjectIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(*bench) error{
		"cut":    func(b *bench) error { return os.Truncate(b.files()[0], 10) },
		"erased": func(b *bench) error { _, err := b.vault.Destroy("acme", "s/jane"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 100)
			if err := damage(b); err != nil {
				t.Fatal(err)
			}
			if err := b.Check(&b.ref, &b.notes.Salt); !errors.Is(err, ErrDamaged) && !errors.Is(err, vault.ErrErased) {
				t.Errorf("got %v", err)
			}
			b.put()
			if err := b.Check(&b.ref, &b.notes.Salt); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADamagedObjectOfABatchIsReplaced(t *testing.T) {
	b := newBench(t, 100)
	b.claim()
	if err := os.Truncate(b.files()[0], 10); err != nil {
		t.Fatal(err)
	}
	b.put()
	b.claim()
	if err := b.Check(&b.ref, &b.notes.Salt); err != nil {
		t.Error(err)
	}
}

func TestReserve(t *testing.T) {
	b := newBench(t, 100)
	full, err := Open(b.dir, b.vault, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	other := b.ref
	other.Digest[0] ^= 1
	if err := full.Put(&other, &b.notes, b.value); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadHead(f *testing.F) {
	h := head{3, 100, []byte("notes")}
	f.Add(h.append(nil))
	f.Add([]byte(domain))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := readHead(r)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(r)
		if got := append(h.append(nil), rest...); !bytes.Equal(got, data) {
			t.Errorf("%x is written as %x", data, got)
		}
	})
}

func FuzzParseNotes(f *testing.F) {
	n := Notes{Salt: [event.SaltSize]byte{1}, Detector: "jwt", Fingerprints: [][event.FingerprintSize]byte{{1}}}
	f.Add(n.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNotes(data)
		if err == nil && !bytes.Equal(n.append(nil), data) {
			t.Errorf("%x is written as %x", data, n.append(nil))
		}
	})
}
