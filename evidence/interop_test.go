//go:build interop

package evidence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// runVectors runs the verifier in Python over folders of vectors.
func runVectors(t *testing.T, folders ...string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import cryptography").Run(); err != nil {
		t.Skip("the verifier in Python needs Debian's package python3-cryptography, which is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "python3", append([]string{"../interop/vectors.py"}, folders...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// The second verifier finds in every vector what this one finds.
func TestSecondVerifierOnVectors(t *testing.T) { runVectors(t) }

// keep writes a bundle as a vector of its own.
func keep(t testing.TB, dir, name string, bundle []byte, policy *Policy) {
	p, err := policy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	v := vector{Of: t.Name(), Policy: p, Fails: []string{}, Verdict: expectation(t, verify(t, bundle, policy))}
	text := v.text(t)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, name+".evb"), bundle, 0o600), os.WriteFile(filepath.Join(dir, name+".json"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// Both verifiers agree on random honest logs.
func TestSecondVerifierOnHonestLogs(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		h := newHistory(t)
		h.live(r)
		from := rapid.SampledFrom([]string{"00:00", "08:03", "08:10"}).Draw(r, "from")
		to := rapid.SampledFrom([]string{"08:12", "08:20", "11:00", "23:00"}).Draw(r, "to")
		n++
		keep(t, dir, fmt.Sprintf("honest-%03d", n), h.bundle(from, to), h.policy())
	})
	runVectors(t, dir)
}

// Both verifiers agree on what is wrong when a file of a bundle is changed in one place by somebody who can sign bundles.
func TestSecondVerifierOnChangedFiles(t *testing.T) {
	const changes = 300
	dir, w, rnd := t.TempDir(), eventful(t), rand.New(rand.NewPCG(1, 2))
	good := w.bundle("08:30", "10:30")
	for i := range changes {
		bad := repack(t, w.export, good, func(files map[string][]byte) { change(rnd, files, changeable[i%len(changeable)]) })
		keep(t, dir, fmt.Sprintf("changed-%03d", i), bad, w.policy())
	}
	runVectors(t, dir)
}

// changeable are the files that are not made anew when a bundle is packed.
var changeable = []string{
	fileCheckpoint, fileLeaves, fileRange, fileBatches, fileBefore, fileAfter, fileEvents, fileOpenings, fileKeysBefore, fileKeysAfter,
	fileEmitters, fileRedactions,
}

// change flips a bit of a file, or swaps, drops or repeats one of its records.
func change(rnd *rand.Rand, files map[string][]byte, name string) {
	b := files[name]
	switch {
	case len(b) == 0:
	case filepath.Ext(name) == ".bin" && name != fileLeaves && rnd.IntN(4) == 0:
		list := splitRecords(b)
		x, y := rnd.IntN(len(list)), rnd.IntN(len(list))
		edits := []func([][]byte) [][]byte{swap(x, y), without(x), func(l [][]byte) [][]byte { return slices.Insert(l, y, l[x]) }}
		files[name] = joinRecords(edits[rnd.IntN(len(edits))](list))
	default:
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
	}
}
