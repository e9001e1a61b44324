//go:build interop

package evidence

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Cosign, and with it sigstore-go and the time-stamp verification of Sigstore, takes a statement whose signature is stamped, and
// refuses one that is stamped by somebody else.
func TestStampedStatementByCosign(t *testing.T) {
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		t.Skip("needs cosign, which `make interop` builds")
	}
	eachAlgorithm(t, func(t *testing.T, w *world) { stampedStatementByCosign(t, cosign, w) })
}

func stampedStatementByCosign(t *testing.T, cosign string, w *world) {
	dir := t.TempDir()
	w.withAuthority("Clock of Example").stamps = true
	files := unpack(t, w.bundle("08:30", "10:30"))
	run := func(a *authority) ([]byte, error) {
		var chain bytes.Buffer
		for _, c := range a.chain {
			w.must(pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		}
		for name, b := range map[string][]byte{
			"manifest.json": files[fileManifest], "statement": files[fileStatement], "export.pem": exportKeyPEM(t, w.policy()), "chain.pem": chain.Bytes(),
		} {
			w.must(os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
		call := func(args ...string) ([]byte, error) {
			cmd := exec.CommandContext(t.Context(), cosign, args...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
			return cmd.CombinedOutput()
		}
		if out, err := call("trusted-root", "create", "--tsa", "url=https://clock.example,certificate-chain=chain.pem", "--out", "trusted.json"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return call("verify-blob-attestation", "--key", "export.pem", "--bundle", "statement", "--insecure-ignore-tlog",
			"--use-signed-timestamps", "--trusted-root", "trusted.json", "--type", predicateType, "manifest.json")
	}
	if out, err := run(w.authority); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := run(newAuthority(w, "Clock of Example", 8)); err == nil {
		t.Errorf("cosign accepts another authority: %s", out)
	}
}
