package keyfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

func TestCreateIsPrivateAndExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "key")
	if err := keyfile.Create(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Create(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v", err)
	}
	checkContent(t, path, "one")
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{"one", "two"} {
		if err := keyfile.Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		checkContent(t, path, content)
	}
}

func checkContent(t *testing.T, path, want string) {
	t.Helper()
	if data, err := keyfile.Read(path); err != nil || string(data) != want {
		t.Errorf("read %q, %v", data, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != keyfile.Mode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in the folder, %v", len(entries), err)
	}
}

func TestReadRefusesExposedFiles(t *testing.T) {
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644, 0o601} {
		path := filepath.Join(t.TempDir(), "key")
		if err := keyfile.Create(path, []byte("secret")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.Read(path)
		if !errors.Is(err, keyfile.ErrExposed) || !strings.Contains(err.Error(), path) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestReadRefusesWhatIsNoKeyFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := keyfile.Read(dir); err == nil {
		t.Error("a folder was read")
	}
	large := filepath.Join(dir, "large")
	if err := keyfile.Create(large, make([]byte, keyfile.MaxSize+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Read(large); !errors.Is(err, keyfile.ErrTooLarge) {
		t.Errorf("large file: %v", err)
	}
}

func TestLoadOrCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			data, err := keyfile.LoadOrCreate(path, func() ([]byte, error) { return []byte{byte('a' + i)}, nil })
			if err != nil {
				t.Error(err)
			}
			got[i] = string(data)
		})
	}
	wg.Wait()
	for _, data := range got {
		if data != got[0] {
			t.Fatalf("racers got %q", got)
		}
	}
}

func TestLock(t *testing.T) {
	taken := errors.New("taken")
	path := filepath.Join(t.TempDir(), "lock")
	first, err := keyfile.Lock(path, taken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Lock(path, taken); !errors.Is(err, taken) {
		t.Errorf("while it is taken: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := keyfile.Lock(path, taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Lock(filepath.Join(path, "below"), taken); err == nil {
		t.Error("a lock below a file")
	}
}
