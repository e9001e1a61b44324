package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
)

const tenant = "acme"

var aad = []byte("event/path")

func open(t testing.TB, dir string) *vault.Vault {
	t.Helper()
	v, err := vault.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// reopen closes v and opens its folder again, as after a restart.
func reopen(t testing.TB, v *vault.Vault, dir string) *vault.Vault {
	t.Helper()
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func ensure(t testing.TB, v *vault.Vault, subjects ...string) []*vault.Key {
	t.Helper()
	keys, err := v.Ensure(tenant, subjects)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func seal(t testing.TB, k *vault.Key, value string) []byte {
	t.Helper()
	sealed, err := vault.Seal(k, aad, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealedValueOpensAfterRestart(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	sealed := seal(t, ensure(t, v, "alice")[0], "hello")
	v = reopen(t, v, dir)
	k, err := v.Get(tenant, "alice", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := vault.Open(k, aad, sealed); err != nil || string(got) != "hello" {
		t.Errorf("opened %q, %v", got, err)
	}
	if got := ensure(t, v, "alice")[0].Generation(); got != 1 {
		t.Errorf("restart began generation %d", got)
	}
}

func TestOpenIsStrict(t *testing.T) {
	v := open(t, t.TempDir())
	keys := ensure(t, v, "alice", "bob")
	sealed := seal(t, keys[0], "hello")
	if len(sealed) != len("hello")+vault.Overhead {
		t.Errorf("sealed value has %d bytes", len(sealed))
	}
	flipped := bytes.Clone(sealed)
	flipped[14] ^= 1
	for name, attempt := range map[string]func() ([]byte, error){
		"other key":  func() ([]byte, error) { return vault.Open(keys[1], aad, sealed) },
		"other aad":  func() ([]byte, error) { return vault.Open(keys[0], []byte("event/other"), sealed) },
		"bit flip":   func() ([]byte, error) { return vault.Open(keys[0], aad, flipped) },
		"truncated":  func() ([]byte, error) { return vault.Open(keys[0], aad, sealed[:len(sealed)-1]) },
		"very short": func() ([]byte, error) { return vault.Open(keys[0], aad, sealed[:5]) },
	} {
		if _, err := attempt(); !errors.Is(err, vault.ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
	}
}

func TestEnsureKeepsOrderAndRepeats(t *testing.T) {
	v := open(t, t.TempDir())
	first := ensure(t, v, "a", "b", "a", "c")
	second := ensure(t, v, "c", "b", "a")
	if first[0] != first[2] || first[0] == first[1] || second[0] != first[3] || second[2] != first[0] {
		t.Error("a subject has two keys, or two subjects share one")
	}
}

func TestManySubjectsInOneCall(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	subjects := make([]string, 10_000)
	for i := range subjects {
		subjects[i] = fmt.Sprintf("subject-%d", i)
	}
	sealed := seal(t, ensure(t, v, subjects...)[9_999], "last")
	v = reopen(t, v, dir)
	if got, err := vault.Open(ensure(t, v, subjects...)[9_999], aad, sealed); err != nil || string(got) != "last" {
		t.Errorf("opened %q, %v", got, err)
	}
}

func TestDestroyErasesEveryGeneration(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	keys := ensure(t, v, "alice", "bob")
	alices, bobs := seal(t, keys[0], "alice's"), seal(t, keys[1], "bob's")
	destroy(t, v, "alice", 1)
	checkErased := func(v *vault.Vault) {
		t.Helper()
		if _, err := v.Get(tenant, "alice", 1); !errors.Is(err, vault.ErrErased) {
			t.Errorf("get: %v, want ErrErased", err)
		}
		if erased, err := v.Erased(tenant, "alice", 1); err != nil || !erased {
			t.Errorf("erased: %t, %v", erased, err)
		}
		if got, err := vault.Open(ensure(t, v, "bob")[0], aad, bobs); err != nil || string(got) != "bob's" {
			t.Errorf("bob's value: %q, %v", got, err)
		}
	}
	checkErased(v)
	if _, err := vault.Open(keys[0], aad, alices); !errors.Is(err, vault.ErrErased) {
		t.Errorf("a key held since before opens: %v", err)
	}
	if _, err := vault.Seal(keys[0], aad, nil); !errors.Is(err, vault.ErrErased) {
		t.Errorf("a key held since before seals: %v", err)
	}
	checkErased(reopen(t, v, dir))
}

func destroy(t *testing.T, v *vault.Vault, subject string, want uint32) {
	t.Helper()
	if got, err := v.Destroy(tenant, subject); err != nil || got != want {
		t.Fatalf("destroyed up to generation %d, %v; want %d", got, err, want)
	}
}

func TestNextGenerationAfterErasure(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	for generation := uint32(1); generation <= 4; generation++ {
		k := ensure(t, v, "alice")[0]
		if k.Generation() != generation {
			t.Fatalf("generation %d, want %d", k.Generation(), generation)
		}
		if erased, _ := v.Erased(tenant, "alice", generation); erased {
			t.Errorf("generation %d is erased before it is", generation)
		}
		destroy(t, v, "alice", generation)
		destroy(t, v, "alice", generation) // again: nothing more to do
		v = reopen(t, v, dir)
		destroy(t, v, "alice", generation)
	}
}

// After Destroy nothing in the folder, under any name, may hold the old key,
// wrapped or not.
func TestDestroyedBytesAreGone(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	ensure(t, v, "alice")
	before, err := os.ReadFile(filepath.Join(dir, "acme.keys"))
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, v, "bob")
	secret := before[len(before)-52 : len(before)-4] // wrapped key, before the CRC
	if !bytes.Contains(folder(t, dir), secret) {
		t.Fatal("the test looks for the wrong bytes")
	}
	destroy(t, v, "alice", 1)
	if bytes.Contains(folder(t, dir), secret) {
		t.Error("the wrapped key is still there")
	}
}

func folder(t *testing.T, dir string) (all []byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
		info, _ := e.Info()
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	return all
}

func TestSubjectsAreNotWrittenDown(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	ensure(t, v, "alice@example.com")
	destroy(t, v, "alice@example.com", 1)
	if bytes.Contains(folder(t, dir), []byte("alice")) {
		t.Error("the folder names a subject")
	}
}

func TestUnknownKeys(t *testing.T) {
	v := open(t, t.TempDir())
	if _, err := v.Get("nobody", "alice", 1); !errors.Is(err, vault.ErrUnknownKey) {
		t.Errorf("unknown tenant: %v", err)
	}
	if got, err := v.Destroy("nobody", "alice"); got != 0 || err != nil {
		t.Errorf("destroy for an unknown tenant: %d, %v", got, err)
	}
	ensure(t, v, "alice")
	for _, c := range []struct {
		subject    string
		generation uint32
	}{{"bob", 1}, {"alice", 2}} {
		if _, err := v.Get(tenant, c.subject, c.generation); !errors.Is(err, vault.ErrUnknownKey) {
			t.Errorf("%v: %v", c, err)
		}
		if erased, err := v.Erased(tenant, c.subject, c.generation); erased || err != nil {
			t.Errorf("%v: erased %t, %v", c, erased, err)
		}
	}
	destroy(t, v, "bob", 0)
}

func TestNamesAreChecked(t *testing.T) {
	v := open(t, t.TempDir())
	for _, name := range []string{"", "../x", "A", "a b", "a/b", strings.Repeat("a", 64), "a\n"} {
		if _, err := v.Ensure(name, []string{"s"}); !errors.Is(err, vault.ErrName) {
			t.Errorf("tenant %q: %v", name, err)
		}
		if _, err := v.FingerprintKey(name); !errors.Is(err, vault.ErrName) {
			t.Errorf("tenant %q: %v", name, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("a", vault.MaxSubject+1)} {
		if _, err := v.Ensure(tenant, []string{name}); !errors.Is(err, vault.ErrName) {
			t.Errorf("subject of %d bytes: %v", len(name), err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	if _, err := vault.OpenDir(dir); !errors.Is(err, vault.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	reopen(t, v, dir)
}

func TestClosedVault(t *testing.T) {
	v := open(t, t.TempDir())
	k := ensure(t, v, "alice")[0]
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Ensure(tenant, []string{"alice"}); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("ensure: %v", err)
	}
	if _, err := vault.Seal(k, aad, nil); err != nil {
		t.Errorf("a key that was handed out: %v", err)
	}
}

func TestFingerprintKey(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	first, err := v.FingerprintKey(tenant)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := v.FingerprintKey("other")
	again, err := reopen(t, v, dir).FingerprintKey(tenant)
	if err != nil || again != first || other == first || first == [32]byte{} {
		t.Errorf("fingerprint keys %x, %x, %x, %v", first[:4], again[:4], other[:4], err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "acme.fpk")); bytes.Contains(data, first[:]) {
		t.Error("the key file is not PEM")
	}
	folder(t, dir)
}

func TestFingerprintKeyRotates(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	first, err := v.FingerprintKey(tenant)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint32(2); n <= vault.MaxFingerprintKeys; n++ {
		if got, err := v.RotateFingerprintKey(tenant); err != nil || got != n {
			t.Fatalf("key number %d, %v, want %d", got, err, n)
		}
	}
	if _, err := v.RotateFingerprintKey(tenant); err == nil {
		t.Error("more keys than the limit")
	}
	want, _ := v.FingerprintKeys(tenant)
	got, err := reopen(t, v, dir).FingerprintKeys(tenant)
	if diff := cmp.Diff(want, got); diff != "" || err != nil || len(got) != vault.MaxFingerprintKeys || got[0] != first || got[1] == first {
		t.Errorf("after a restart: %v\n%s", err, diff)
	}
	folder(t, dir)
}

func TestMissingOrExposedFiles(t *testing.T) {
	for _, name := range []string{"acme.kek", "acme.fpk"} {
		dir := t.TempDir()
		v := open(t, dir)
		ensure(t, v, "alice")
		if err := vault.Check(dir); err != nil {
			t.Errorf("sound, and open elsewhere: %v", err)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := vault.Check(dir); !errors.Is(err, signer.ErrKeyExposed) {
			t.Errorf("%s exposed: checked: %v", name, err)
		}
		v = reopen(t, v, dir)
		if _, err := v.Get(tenant, "alice", 1); !errors.Is(err, signer.ErrKeyExposed) {
			t.Errorf("%s exposed: %v", name, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Ensure(tenant, []string{"alice"}); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("%s missing: %v", name, err)
		}
		if err := vault.Check(dir); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("%s missing: checked: %v", name, err)
		}
	}
}

func TestCheckOfNoVault(t *testing.T) {
	if err := vault.Check(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestKeysOfAnotherTenantDoNotUnwrap(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	ensure(t, v, "alice")
	if _, err := v.FingerprintKey("other"); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{".keys", ".kek"} { // both: the tenant's name is bound too
		data, err := os.ReadFile(filepath.Join(dir, tenant+ext))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "other"+ext), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, dir).Get("other", "alice", 1); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("a spliced key unwraps: %v", err)
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := ensure(t, open(t, t.TempDir()), "alice")[0]
	type holder struct{ k *vault.Key }
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%d"} {
		if out := fmt.Sprintf(verb, k); out != "vault.Key(generation 1, redacted)" {
			t.Errorf("%s prints %s", verb, out)
		}
		if out := fmt.Sprintf(verb, holder{k}); len(out) > 150 {
			t.Errorf("%s in a struct prints %s", verb, out)
		}
	}
}

// Everybody at once: whatever was sealed under a generation that is not erased
// opens, and whatever is erased does not.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	var wg sync.WaitGroup
	var sealedValues atomic.Int64
	for worker := range 8 {
		wg.Go(func() {
			for i := range 40 {
				subject := fmt.Sprintf("s%d", (worker+i)%5)
				if i%13 == 12 {
					if _, err := v.Destroy(tenant, subject); err != nil {
						t.Error(err)
					}
					continue
				}
				if sealAndOpen(t, v, subject) {
					sealedValues.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if sealedValues.Load() == 0 {
		t.Error("nothing was sealed")
	}
	reopen(t, v, dir)
}

func sealAndOpen(t *testing.T, v *vault.Vault, subject string) bool {
	keys, err := v.Ensure(tenant, []string{subject, "constant"})
	if err != nil {
		t.Error(err)
		return false
	}
	sealed, err := vault.Seal(keys[0], aad, []byte(subject))
	if errors.Is(err, vault.ErrErased) {
		return false
	}
	k, err := v.Get(tenant, subject, keys[0].Generation())
	if errors.Is(err, vault.ErrErased) {
		return false
	}
	if err != nil {
		t.Error(err)
		return false
	}
	got, err := vault.Open(k, aad, sealed)
	if err != nil && !errors.Is(err, vault.ErrErased) || err == nil && string(got) != subject {
		t.Errorf("opened %q, %v", got, err)
	}
	return err == nil
}

// Cut the file at every length that a crash can leave: all keys of the frames
// before the cut are there, and the vault goes on from them.
func TestTornTailIsCutOff(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	path := filepath.Join(dir, "acme.keys")
	ensure(t, v, "first")
	whole := fileSize(t, path)
	ensure(t, v, "second", "third")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut < int64(len(data)); cut += 7 {
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, path, data[:cut])
		v = open(t, dir)
		checkCut(t, v, whole, path)
	}
}

func checkCut(t *testing.T, v *vault.Vault, whole int64, path string) {
	t.Helper()
	if _, err := v.Get(tenant, "first", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Get(tenant, "second", 1); !errors.Is(err, vault.ErrUnknownKey) {
		t.Errorf("a key that was never handed out: %v", err)
	}
	if got := fileSize(t, path); got != whole {
		t.Errorf("the file has %d bytes, want %d", got, whole)
	}
	if k := ensure(t, v, "second")[0]; k.Generation() != 1 {
		t.Errorf("generation %d", k.Generation())
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A medium may write the end of a frame and not its beginning.
func TestTailWrittenOutOfOrder(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	path := filepath.Join(dir, "acme.keys")
	ensure(t, v, "first")
	whole := fileSize(t, path)
	ensure(t, v, "second", "third")
	data, _ := os.ReadFile(path)
	clear(data[whole : whole+50])
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, path, data)
	checkCut(t, open(t, dir), whole, path)
}

func TestDamageBeforeTheTailIsReported(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	path := filepath.Join(dir, "acme.keys")
	ensure(t, v, "first")
	whole := fileSize(t, path)
	ensure(t, v, "second")
	data, _ := os.ReadFile(path)
	for at := range whole {
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x40
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, path, damaged)
		v = open(t, dir)
		if _, err := v.Get(tenant, "first", 1); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("damage at byte %d: %v, want ErrCorrupt", at, err)
		}
		if diff := cmp.Diff(damaged, must(os.ReadFile(path))); diff != "" {
			t.Errorf("damage at byte %d was repaired silently", at)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// A crash in Destroy leaves a temporary file beside the old one.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	ensure(t, v, "alice")
	leftover := filepath.Join(dir, ".acme.keys.123.tmp")
	write(t, leftover, []byte("half a file"))
	reopen(t, v, dir)
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover: %v", err)
	}
}
