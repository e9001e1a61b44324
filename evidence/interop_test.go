//go:build interop

package evidence

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
	formatslog "github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/signer"
)

// python is an interpreter that has the library, which Debian installs for its own.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import cryptography").Run() == nil {
			return name
		}
	}
	t.Skip("the verifier in Python needs Debian's package python3-cryptography, which is not installed")
	return ""
}

// runVectors runs the verifier in Python over folders of vectors, those of the repository if none is named.
func runVectors(t *testing.T, folders ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), append([]string{"-B", "../interop/vectors.py"}, folders...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The second verifier finds in every vector what this one finds.
func TestSecondVerifierOnVectors(t *testing.T) { runVectors(t) }

// keepVector writes a bundle as a vector of its own.
func keepVector(t testing.TB, dir, name string, bundle []byte, policy *Policy) {
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
		keepVector(t, dir, fmt.Sprintf("honest-%03d", n), h.bundle(from, to), h.policy())
		s := h.scope(from, to)
		s.Instance, s.Grace = h.agents[0].instance, rapid.SampledFrom([]Seconds{0, 600}).Draw(r, "grace")
		s.Run = rapid.SampledFrom([]string{"", "run-1"}).Draw(r, "run")
		keepVector(t, dir, fmt.Sprintf("honest-part-%03d", n), h.exportScope(s, ExportOptions{}), h.policy())
	})
	runVectors(t, dir)
}

// Both verifiers agree on what is wrong when a file of a bundle is changed in one place by somebody who can sign bundles.
func TestSecondVerifierOnChangedFiles(t *testing.T) {
	const changes = 300
	day, parts := eventful(t), shared(t)
	for name, test := range map[string]struct {
		w    *world
		good []byte
	}{
		"tenant":   {day, day.bundle("08:30", "10:30")},
		"instance": {parts, parts.exportScope(parts.part("support-1", ""), ExportOptions{Held: [][]byte{parts.note()}})},
		"run":      {parts, parts.exportScope(parts.part("support-1", "ticket-1"), ExportOptions{Held: [][]byte{parts.note()}})},
	} {
		t.Run(name, func(t *testing.T) {
			dir, rnd := t.TempDir(), rand.New(rand.NewPCG(1, 2))
			for i := range changes {
				bad := repack(t, test.w.export, test.good, func(files map[string][]byte) { change(rnd, files, changeable[i%len(changeable)]) })
				keepVector(t, dir, fmt.Sprintf("changed-%03d", i), bad, test.w.policy())
			}
			runVectors(t, dir)
		})
	}
}

// changeable are the files that are not made anew when a bundle is packed.
var changeable = []string{
	fileCheckpoint, fileLeaves, fileRange, fileBatches, fileBefore, fileAfter, fileEvents, fileOpenings, fileKeysBefore, fileKeysAfter,
	fileKeysRange, fileProofs, fileEmitters, fileRedactions, fileActions, fileApprovals, fileChanges, fileControls,
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

// The program's own manners: text, JSON, exit codes.
func TestSecondVerifierAsAProgram(t *testing.T) {
	w, dir := exported(t), t.TempDir()
	policy, err := w.policy().Marshal()
	w.must(err)
	bundle, policyFile := filepath.Join(dir, "CASE.evb"), filepath.Join(dir, "POLICY.json")
	w.must(errors.Join(os.WriteFile(bundle, w.bundle("08:30", "10:30"), 0o600), os.WriteFile(policyFile, policy, 0o600)))
	for _, test := range []struct {
		exit int
		says string
		args []string
	}{
		{ExitVerified, "exit code 0", []string{bundle, "--policy", policyFile}},
		{ExitVerified, `"authenticity": "authentic"`, []string{bundle, "--policy", policyFile, "-o", "json"}},
		{ExitNoPolicy, "not-claimed custody", []string{bundle}},
		{ExitContainer, "failed      container", []string{policyFile}},
		{ExitError, "policy", []string{bundle, "--policy", bundle}},
		{ExitUsage, "usage", []string{"--colour"}},
	} {
		out, err := exec.CommandContext(t.Context(), python(t), append([]string{"-B", "../interop/verify.py"}, test.args...)...).CombinedOutput()
		code := 0
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != test.exit || !bytes.Contains(out, []byte(test.says)) {
			t.Errorf("%q: exit %d, want %d with %q\n%s", test.args, code, test.exit, test.says, out)
		}
	}
}

// Lists of revoked certificates that the auditor gives say the same to both verifiers.
func TestSecondVerifierOnRevokedCertificates(t *testing.T) {
	w, dir := exported(t).withAuthority("Clock of Example").confirm(), t.TempDir()
	policy, err := w.policy().Marshal()
	w.must(err)
	bundle, policyFile := filepath.Join(dir, "CASE.evb"), filepath.Join(dir, "POLICY.json")
	w.must(errors.Join(os.WriteFile(bundle, w.bundle("08:30", "10:30"), 0o600), os.WriteFile(policyFile, policy, 0o600)))
	crl := func(name, kind string, reason int) string {
		file, der := filepath.Join(dir, name), w.authority.list(w, day.AddDate(0, 0, 1), reason).Raw
		if kind != "" {
			der = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		}
		w.must(os.WriteFile(file, der, 0o600))
		return file
	}
	clear, revoked, armoured := crl("clear.crl", "", 0), crl("revoked.crl", "", 1), crl("revoked.pem", "X509 CRL", 1)
	for _, test := range []struct {
		exit int
		says string
		crls []string
	}{
		{ExitVerified, `"revocation": "not-checked"`, nil},
		{ExitVerified, `"revocation": "not-revoked"`, []string{clear}},
		{ExitTimestamp, `"detail": "revoked"`, []string{clear, revoked}},
		{ExitTimestamp, `"detail": "revoked"`, []string{armoured}},
		{ExitError, "malformed list of revoked certificates", []string{policyFile}},
	} {
		args := []string{"-B", "../interop/verify.py", bundle, "--policy", policyFile, "-o", "json"}
		for _, file := range test.crls {
			args = append(args, "--crl", file)
		}
		cmd := exec.CommandContext(t.Context(), python(t), args...)
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != test.exit || !bytes.Contains(out, []byte(test.says)) {
			t.Errorf("%q: exit %d, want %d with %q\n%s", test.crls, cmd.ProcessState.ExitCode(), test.exit, test.says, out)
		}
	}
}

// The checkpoint of a bundle is a signed note for golang.org/x/mod/sumdb/note, and a checkpoint with a cosignature for
// transparency-dev/formats, with the keys as the policy writes them.
func TestCheckpointElsewhere(t *testing.T) {
	w := eventful(t)
	policy, checkpoint := w.policy(), unpack(t, w.bundle("08:30", "10:30"))[fileCheckpoint]
	log, err1 := note.NewVerifier(policy.LogKey)
	clock, err2 := formats.NewVerifierForCosignatureV1(policy.TimeKey)
	w.must(errors.Join(err1, err2))
	n, err := note.Open(checkpoint, note.VerifierList(log, clock))
	w.must(err)
	c, rest, opened, err := formatslog.ParseCheckpoint(checkpoint, policy.Origin, log, clock)
	w.must(err)
	at, err := formats.CoSigV1Timestamp(opened.Sigs[1])
	w.must(err)
	root := w.chain.Root()
	if len(n.Sigs) != 2 || len(rest) > 0 || c.Size != uint64(w.chain.Size()) || !bytes.Equal(c.Hash, root[:]) || at.Unix() != int64(w.now)/1e9 {
		t.Errorf("%d signatures, rest %q, size %d, root %x at %s", len(n.Sigs), rest, c.Size, c.Hash, at)
	}
}

// exportKeyPEM is the export key as other tools read it.
func exportKeyPEM(t *testing.T, policy *Policy) []byte {
	t.Helper()
	file, err := policy.ExportKey.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// eachAlgorithm runs a test with a log whose bundles are signed with each algorithm.
func eachAlgorithm(t *testing.T, run func(t *testing.T, w *world)) {
	t.Run(signer.AlgorithmEd25519, func(t *testing.T) { run(t, exported(t)) })
	t.Run(signer.AlgorithmP256, func(t *testing.T) { run(t, exchanged(t, "09:00")) })
}

// The statement about a bundle is a DSSE envelope for go-securesystemslib.
func TestStatementElsewhere(t *testing.T) {
	eachAlgorithm(t, statementElsewhere)
}

func statementElsewhere(t *testing.T, w *world) {
	files := unpack(t, w.bundle("08:30", "10:30"))
	key, err := signerverifier.LoadKey(exportKeyPEM(t, w.policy()))
	w.must(err)
	var verifier dsse.Verifier
	if w.export.Algorithm() == signer.AlgorithmP256 {
		verifier, err = signerverifier.NewECDSASignerVerifierFromSSLibKey(key)
	} else {
		verifier, err = signerverifier.NewED25519SignerVerifierFromSSLibKey(key)
	}
	w.must(err)
	envelopes, err := dsse.NewEnvelopeVerifier(verifier)
	w.must(err)
	var b struct {
		Envelope dsse.Envelope `json:"dsseEnvelope"`
	}
	w.must(json.Unmarshal(files[fileStatement], &b))
	if _, err := envelopes.Verify(t.Context(), &b.Envelope); err != nil {
		t.Error(err)
	}
	b.Envelope.PayloadType = PayloadTypeHandling
	if _, err := envelopes.Verify(t.Context(), &b.Envelope); err == nil {
		t.Error("verifies under another payload type")
	}
}

// cosign, which is built on sigstore-go, verifies the statement about a bundle, and that it is about this list of files.
func TestStatementByCosign(t *testing.T) {
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		t.Skip("needs cosign, which `make interop` builds")
	}
	eachAlgorithm(t, func(t *testing.T, w *world) { statementByCosign(t, cosign, w) })
}

func statementByCosign(t *testing.T, cosign string, w *world) {
	dir := t.TempDir()
	files := unpack(t, w.bundle("08:30", "10:30"))
	run := func(manifest, key []byte) error {
		for name, b := range map[string][]byte{"manifest.json": manifest, "statement": files[fileStatement], "export.pem": key} {
			w.must(os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
		cmd := exec.CommandContext(t.Context(), cosign, "verify-blob-attestation", "--key", "export.pem", "--bundle", "statement",
			"--insecure-ignore-tlog", "--type", predicateType, "manifest.json")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	another := newWorld(t, "umbrella")
	if w.export.Algorithm() == signer.AlgorithmP256 {
		another.export = p256(t, 2)
	}
	key, other := exportKeyPEM(t, w.policy()), another.policy()
	if err := run(files[fileManifest], key); err != nil {
		t.Error(err)
	}
	if run(files[fileScope], key) == nil {
		t.Error("cosign accepts another file")
	}
	if run(files[fileManifest], exportKeyPEM(t, other)) == nil {
		t.Error("cosign accepts another key")
	}
}
