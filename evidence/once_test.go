package evidence

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// counted counts the bytes that are read of a range.
type counted struct {
	io.ReaderAt
	from, to int64

	mu   sync.Mutex
	read int64
}

func (c *counted) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += max(0, min(at+int64(n), c.to)-max(at, c.from))
	return n, err
}

// placeIn is where the contents of a file stand in a bundle.
func placeIn(t *testing.T, bundle []byte, name string) (from, to int64) {
	t.Helper()
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	e := &c.entries[placeOf(name)]
	from = int64(e.offset) + int64(len(e.localHeader()))
	return from, from + int64(e.size)
}

// The files that hold nearly all of a bundle are read once; of the leaves those at the ends are looked at besides.
func TestLargeFilesAreReadOnce(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	for name, besides := range map[string]int64{fileBatches: 0, fileEvents: 0, fileOpenings: 0, fileLeaves: 16 * 183} {
		from, to := placeIn(t, bundle, name)
		file := &counted{ReaderAt: bytes.NewReader(bundle), from: from, to: to}
		v, err := Verify(t.Context(), file, int64(len(bundle)), w.policy(), VerifyOptions{})
		if err != nil || v.Integrity != Intact {
			t.Fatal(err, v.Text())
		}
		if file.read < to-from || file.read > to-from+besides {
			t.Errorf("%s: %d bytes were read of %d", name, file.read, to-from)
		}
	}
}

// hashesFirst is the verdict of a verification that hashes every file before it looks into any.
func hashesFirst(t *testing.T, bundle []byte, policy *Policy) Verdict {
	t.Helper()
	v := newVerification(policy, VerifyOptions{})
	if err := v.run(t.Context(), bytes.NewReader(bundle), int64(len(bundle))); err != nil {
		t.Fatal(err)
	}
	return v.verdict()
}

// A large file that is not the one that is listed spoils the verdict as if it had been hashed first: nothing that was found in it counts.
func TestChangedFilesAreNotJudged(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	for _, name := range onceFiles {
		from, to := placeIn(t, bundle, name)
		for at := from; at < to; at += max(1, (to-from)/7) {
			changed := bytes.Clone(bundle)
			changed[at] ^= 1
			got, err := Verify(t.Context(), bytes.NewReader(changed), int64(len(changed)), w.policy(), VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hashesFirst(t, changed, w.policy()), got); diff != "" || got.Exit != ExitManifest || !strings.Contains(details(got), name) {
				t.Errorf("%s, byte %d: exit %d\n%s", name, at-from, got.Exit, diff)
			}
		}
	}
}

// Where a verification stops before it has read the large files, they are held to the list all the same.
func TestUnreadFilesAreHeldToTheList(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	early := repack(t, w.export, bundle, func(files map[string][]byte) { files[fileScope] = append(files[fileScope], ' ') })
	if v := verify(t, early, w.policy()); v.Exit != ExitFormat {
		t.Fatalf("exit %d\n%s", v.Exit, details(v))
	}
	from, _ := placeIn(t, early, fileEvents)
	early[from] ^= 1
	if v := verify(t, early, w.policy()); v.Exit != ExitManifest {
		t.Errorf("exit %d\n%s", v.Exit, details(v))
	}
}

// A checksum of the container that is wrong is not overlooked, though the digest of the list is right.
func TestWrongChecksumOfALargeFile(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	w.must(err)
	file, err := c.read(fileManifest)
	w.must(err)
	m, err := checkList(c, file)
	w.must(err)
	w.must(c.checkOnce(m))
	c, err = openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	w.must(err)
	c.entries[placeOf(fileOpenings)].crc ^= 1
	if err := c.checkOnce(m); !errors.Is(err, errContents) {
		t.Error(err)
	}
}
