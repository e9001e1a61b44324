package evidence

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Where the bundle lies that every later version must still verify. It is written once (-update), and never again without need.
const (
	goldenBundle = "testdata/bundle/exported.evb"
	goldenPolicy = "testdata/bundle/policy.json"
)

func TestOldBundlesStillVerify(t *testing.T) {
	if *update {
		w := exported(t)
		policy, err := w.policy().Marshal()
		w.must(err)
		w.must(os.MkdirAll(filepath.Dir(goldenBundle), 0o755))
		w.must(os.WriteFile(goldenBundle, w.bundle("08:30", "10:30"), 0o644))
		w.must(os.WriteFile(goldenPolicy, policy, 0o644))
	}
	bundle, err1 := os.ReadFile(goldenBundle)
	file, err2 := os.ReadFile(goldenPolicy)
	policy, err3 := ParsePolicy(file)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	want{ExitVerified, Complete, 10}.check(t, verify(t, bundle, policy))
}

// The steps of VERIFY.md, as a person would type them.
func TestStepsByHand(t *testing.T) {
	for _, tool := range []string{"bash", "unzip", "jq", "openssl", "sha256sum", "python3", "xxd", "base64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("VERIFY.md needs %s, which is not installed", tool)
		}
	}
	w := exported(t)
	for i, window := range [][2]string{{"08:30", "10:30"}, {"00:00", "10:15"}, {"00:00", "23:00"}} {
		says := "Signature Verified Successfully"
		if i > 0 {
			w.export, says = p256(t, 1), "Verified OK"
		}
		dir := t.TempDir()
		policy, err := w.policy().Marshal()
		w.must(err)
		w.must(os.WriteFile(filepath.Join(dir, "POLICY.json"), policy, 0o600))
		w.must(os.WriteFile(filepath.Join(dir, "CASE.evb"), w.bundle(window[0], window[1]), 0o600))
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands(string(unpack(t, w.bundle(window[0], window[1]))[fileVerify])))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), says) || !strings.Contains(string(out), "the records are those of the log") {
			t.Errorf("%s to %s: %v\n%s", window[0], window[1], err, out)
		}
	}
}

// commands are the indented lines of a Markdown page, without the first, which is the short way.
func commands(page string) string {
	var lines []string
	for line := range strings.Lines(page) {
		if code, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(code, "custody-verify") {
			lines = append(lines, code)
		} else if line == "\n" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestVerdictJSON(t *testing.T) {
	w := exported(t)
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	b, err := v.JSON()
	w.must(err)
	var again Verdict
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if same, _ := again.JSON(); !bytes.Equal(b, same) || again.Text() != v.Text() {
		t.Errorf("the verdict does not come back from its JSON:\n%s", b)
	}
}
