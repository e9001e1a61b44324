package witness_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/witness"
)

const (
	origin = "log.example.com/custody/7f3a"
	name   = "witness.example/w1"
)

func key(n byte) *signer.Key { return signer.FromSeed([32]byte{n}) }

// history is a log whose leaves are numbered; from a leaf on, it may be another history.
type history struct {
	hashes []chain.Hash
	key    *signer.Key
}

func newHistory(size int, forkAt int) *history {
	h := &history{key: key(1)}
	for i := range size {
		text := fmt.Sprintf("leaf %d", i)
		if forkAt >= 0 && i >= forkAt {
			text += " of another history"
		}
		h.hashes = append(h.hashes, chain.LeafHash([]byte(text)))
	}
	return h
}

func (h *history) ReadLeafHashes(_ context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	return h.hashes[begin:end], nil
}

func (h *history) head(size int) chain.Checkpoint {
	return chain.Checkpoint{Origin: origin, Size: chain.Index(size), Root: chain.EventRoot(h.hashes[:size])}
}

func (h *history) note(t testing.TB, size int) []byte {
	t.Helper()
	s, err := signer.NoteSigner(h.key, origin)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.SignCheckpoint(h.head(size), s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (h *history) prove(t testing.TB, older, newer int) []chain.Hash {
	t.Helper()
	if older == 0 {
		return nil
	}
	path, err := chain.ProveConsistency(t.Context(), chain.LeafNodes{Leaves: h}, chain.Index(older), chain.Index(newer))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *history) request(t testing.TB, older, newer int) *witness.Request {
	t.Helper()
	return &witness.Request{Old: chain.Index(older), Proof: h.prove(t, older, newer), Checkpoint: h.note(t, newer)}
}

func config(dir string) witness.Config {
	return witness.Config{
		Dir: dir, Name: name, Logs: []signer.KnownLog{{Origin: origin, Key: key(1).Public()}},
		Now: func() time.Time { return time.Unix(1679315147, 0) },
	}
}

func open(t testing.TB, cfg witness.Config) *witness.Witness {
	t.Helper()
	w, err := witness.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // a test may have closed it
	return w
}

// post sends a body to the witness and returns the answer.
func post(t testing.TB, w http.Handler, body []byte) (int, string, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	w.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return recorder.Code, recorder.Header().Get("Content-Type"), recorder.Body.String()
}

// Each row is sent to a witness that has cosigned 5 leaves of a log.
func TestAnswers(t *testing.T) {
	good, other := newHistory(20, -1), newHistory(20, 3)
	stranger := newHistory(20, -1)
	stranger.key = key(9)
	elsewhere := bytes.ReplaceAll(good.note(t, 9), []byte(origin), []byte("log.example.com/other"))
	for what, test := range map[string]struct {
		body   []byte
		status int
		answer string
	}{
		"the next":                        {good.request(t, 5, 9).Marshal(), 200, "— witness.example/w1 "},
		"the same again":                  {good.request(t, 5, 5).Marshal(), 200, "— witness.example/w1 "},
		"unknown log":                     {(&witness.Request{Old: 5, Checkpoint: elsewhere}).Marshal(), 404, ""},
		"signed by a stranger":            {stranger.request(t, 5, 9).Marshal(), 403, ""},
		"unsigned":                        {(&witness.Request{Old: 5, Checkpoint: bytes.SplitAfter(good.note(t, 9), []byte("\n\n"))[0]}).Marshal(), 400, ""},
		"old size too great":              {(&witness.Request{Old: 10, Checkpoint: good.note(t, 9)}).Marshal(), 400, ""},
		"another old size":                {good.request(t, 3, 9).Marshal(), 409, "5\n"},
		"a first request":                 {good.request(t, 0, 9).Marshal(), 409, "5\n"},
		"rolled back":                     {good.request(t, 3, 4).Marshal(), 409, "5\n"},
		"rolled back, starting from here": {(&witness.Request{Old: 5, Checkpoint: good.note(t, 4)}).Marshal(), 400, ""},
		"another history":                 {other.request(t, 5, 9).Marshal(), 422, ""},
		"another history of this size":    {other.request(t, 5, 5).Marshal(), 409, ""},
		"without a proof":                 {(&witness.Request{Old: 5, Checkpoint: good.note(t, 9)}).Marshal(), 422, ""},
		"surplus hash":                    {(&witness.Request{Old: 5, Proof: append(good.prove(t, 5, 9), chain.Hash{}), Checkpoint: good.note(t, 9)}).Marshal(), 422, ""},
		"a proof for the same size":       {(&witness.Request{Old: 5, Proof: make([]chain.Hash, 1), Checkpoint: good.note(t, 5)}).Marshal(), 422, ""},
		"nothing":                         {nil, 400, ""},
		"no checkpoint":                   {[]byte("old 5\n\n"), 400, ""},
		"leading zero":                    {bytes.Replace(good.request(t, 5, 9).Marshal(), []byte("old 5"), []byte("old 05"), 1), 400, ""},
		"64 hashes":                       {(&witness.Request{Old: 5, Proof: make([]chain.Hash, 64), Checkpoint: good.note(t, 9)}).Marshal(), 400, ""},
		"huge":                            {append(good.request(t, 5, 9).Marshal(), make([]byte, 128<<10)...), 400, ""},
		"extension line":                  {(&witness.Request{Old: 5, Checkpoint: bytes.Replace(good.note(t, 9), []byte("\n\n"), []byte("\nx\n\n"), 1)}).Marshal(), 403, ""},
	} {
		t.Run(what, func(t *testing.T) {
			w := open(t, config(t.TempDir()))
			if _, err := w.Add(good.request(t, 0, 5)); err != nil {
				t.Fatal(err)
			}
			status, contentType, answer := post(t, w, test.body)
			if status != test.status || !strings.HasPrefix(answer, test.answer) {
				t.Errorf("%d %q, want %d %q", status, answer, test.status, test.answer)
			}
			if (test.answer == "5\n") != (contentType == "text/x.tlog.size") {
				t.Errorf("media type %s", contentType)
			}
			again := http.StatusOK
			if status == http.StatusOK && what == "the next" {
				again = http.StatusConflict
			}
			if status, _, _ := post(t, w, good.request(t, 5, 7).Marshal()); status != again {
				t.Errorf("afterwards %d, want %d: the state has changed", status, again)
			}
		})
	}
}

// What a witness answers is a cosignature that an independent implementation of notes takes.
func TestCosignature(t *testing.T) {
	w, h := open(t, config(t.TempDir())), newHistory(20, -1)
	line, err := w.Add(h.request(t, 0, 9))
	if err != nil {
		t.Fatal(err)
	}
	cosigner, public, err := signer.ParseCosignatureVKey(w.VKey())
	if err != nil || cosigner != name {
		t.Fatal(cosigner, err)
	}
	c, err := signer.OpenCheckpoint(append(h.note(t, 9), line...), origin, key(1).Public(), signer.Cosigner{Name: name, Key: public})
	if err != nil {
		t.Fatal(err)
	}
	want := []signer.Cosignature{{Name: name, Key: public, Seconds: 1679315147}}
	if diff := cmp.Diff(want, c.Cosignatures); diff != "" {
		t.Error(diff)
	}
	if _, err := note.Open(append(h.note(t, 9), line...), note.VerifierList()); !errors.As(err, new(*note.UnverifiedNoteError)) {
		t.Errorf("x/mod does not read the note: %v", err)
	}
}

var errCrash = errors.New("crash")

// A witness that dies at any step has never signed what it does not remember, and the log gets its cosignature from the next one.
func TestCrashes(t *testing.T) {
	h := newHistory(20, -1)
	for _, at := range []witness.Step{witness.StepChecked, witness.StepPersisted, witness.StepSigned} {
		t.Run(string(at), func(t *testing.T) {
			dir := t.TempDir()
			cfg := config(dir)
			first := open(t, cfg)
			if _, err := first.Add(h.request(t, 0, 5)); err != nil {
				t.Fatal(err)
			}
			_ = first.Close()
			cfg.Hook = func(s witness.Step) error {
				if s == at {
					return errCrash
				}
				return nil
			}
			dying := open(t, cfg)
			if line, err := dying.Add(h.request(t, 5, 9)); !errors.Is(err, errCrash) || line != nil {
				t.Fatalf("%q, %v", line, err)
			}
			_ = dying.Close()
			afterCrash(t, open(t, config(dir)), h, at)
		})
	}
}

func afterCrash(t *testing.T, w *witness.Witness, h *history, at witness.Step) {
	t.Helper()
	remembered := 9
	if at == witness.StepChecked {
		remembered = 5
	}
	// Whatever was or was not promised, another history is refused.
	if _, err := w.Add(newHistory(20, 7).request(t, remembered, 12)); at != witness.StepChecked && !errors.Is(err, witness.ErrInconsistent) {
		t.Errorf("another history: %v", err)
	}
	if at == witness.StepChecked {
		return // nothing of leaf 5 on was promised: either history is the first
	}
	var stale *witness.StaleError
	if _, err := w.Add(h.request(t, 5, 9)); !errors.As(err, &stale) || stale.Size != 9 {
		t.Errorf("asked again from the size before: %v", err)
	}
	if _, err := w.Add(h.request(t, 9, 9)); err != nil {
		t.Errorf("asked again from the size that it remembers: %v", err)
	}
}

func TestOpen(t *testing.T) {
	h := newHistory(20, -1)
	fill := func(t *testing.T) string {
		dir := t.TempDir()
		w := open(t, config(dir))
		if _, err := w.Add(h.request(t, 0, 5)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Run("twice", func(t *testing.T) {
		if _, err := witness.Open(config(fill(t))); !errors.Is(err, witness.ErrLocked) {
			t.Error(err)
		}
	})
	for what, spoil := range map[string]func(state string) error{
		"state is gone":       os.RemoveAll,
		"state is damaged":    func(s string) error { return os.WriteFile(stateFile(s), []byte("nothing\n"), 0o600) },
		"state is a forgery":  func(s string) error { return replaceIn(stateFile(s), "\n5\n", "\n4\n") },
		"state is cut":        func(s string) error { return os.Truncate(stateFile(s), 40) },
		"state can be read":   func(s string) error { return os.Chmod(stateFile(s), 0o644) },
		"the key can be read": func(s string) error { return os.Chmod(filepath.Join(filepath.Dir(s), "key.pem"), 0o640) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, config(dir))
			if _, err := w.Add(h.request(t, 0, 5)); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			if err := spoil(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
			if _, err := witness.Open(config(dir)); !errors.Is(err, witness.ErrState) && !errors.Is(err, signer.ErrKeyExposed) {
				t.Errorf("opened: %v", err)
			}
		})
	}
	t.Run("name", func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Name = "a name"
		if _, err := witness.Open(cfg); !errors.Is(err, signer.ErrVKey) {
			t.Error(err)
		}
	})
}

// stateFile is the only file of the state.
func stateFile(state string) string {
	files, err := os.ReadDir(state)
	if err != nil || len(files) != 1 {
		return ""
	}
	return filepath.Join(state, files[0].Name())
}

func replaceIn(path, from, to string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Replace(string(b), from, to, 1)), 0o600)
}

// Nobody but the owner can read what the witness keeps.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	w := open(t, config(dir))
	if _, err := w.Add(newHistory(5, -1).request(t, 0, 5)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "key.pem"), stateFile(filepath.Join(dir, "state")), filepath.Join(dir, "lock")} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

// client asks a witness over HTTP.
func client(t testing.TB, h http.Handler) *witness.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &witness.Client{Witness: signer.Witness{Name: "w1", URL: server.URL + "/"}, HTTP: server.Client()}
}

func (h *history) ask(t testing.TB, c *witness.Client, size int) ([]byte, error) {
	t.Helper()
	return c.Cosign(t.Context(), h.head(size), h.note(t, size), func(_ context.Context, from chain.Index) ([]chain.Hash, error) {
		return h.prove(t, int(from), size), nil
	})
}

func TestClient(t *testing.T) {
	w, h := open(t, config(t.TempDir())), newHistory(20, -1)
	c := client(t, w)
	for _, size := range []int{1, 5, 5, 20} {
		if line, err := h.ask(t, c, size); err != nil || !bytes.HasPrefix(line, []byte("— "+name)) {
			t.Fatalf("at %d: %q %v", size, line, err)
		}
	}
	forgetful := client(t, w)
	if _, err := h.ask(t, forgetful, 20); err != nil {
		t.Errorf("a client that starts anew: %v", err)
	}
	for what, test := range map[string]struct {
		ask  func() ([]byte, error)
		want error
	}{
		"rolled back":                {func() ([]byte, error) { return h.ask(t, c, 7) }, witness.ErrRolledBack},
		"rolled back, starting anew": {func() ([]byte, error) { return h.ask(t, client(t, w), 7) }, witness.ErrRolledBack},
		"same size, other history":   {func() ([]byte, error) { return newHistory(20, 11).ask(t, c, 20) }, witness.ErrFork},
		"other history":              {func() ([]byte, error) { return newHistory(30, 11).ask(t, c, 30) }, witness.ErrInconsistent},
	} {
		if line, err := test.ask(); !errors.Is(err, test.want) || line != nil {
			t.Errorf("%s: %q %v", what, line, err)
		}
	}
}

// Whatever a witness answers, the client ends, and takes a bounded amount.
func TestClientAgainstStrangeWitnesses(t *testing.T) {
	h := newHistory(20, -1)
	sizes := 0
	for what, handler := range map[string]http.HandlerFunc{
		"down":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"endless": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(zeros{}, 1<<20)) },
		"conflict of no size": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, "007\n")
		},
		"moving": func(w http.ResponseWriter, _ *http.Request) {
			sizes++
			w.Header().Set("Content-Type", "text/x.tlog.size; charset=utf-8")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, "%d\n", 1+sizes%3)
		},
	} {
		if line, err := h.ask(t, client(t, handler), 20); err == nil {
			t.Errorf("%s: %q", what, line)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func FuzzRequest(f *testing.F) {
	h := newHistory(20, -1)
	f.Add(h.request(f, 0, 5).Marshal())
	f.Add(h.request(f, 5, 9).Marshal())
	f.Add([]byte("old 0\n\nx"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := witness.ParseRequest(body)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Marshal(), body) {
			t.Errorf("%q comes back as %q", body, r.Marshal())
		}
	})
}
