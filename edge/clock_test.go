package edge_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestBuildsWhereAgentsRun: agents also run on people's own machines, and each system has a clock of its own for leases.
func TestBuildsWhereAgentsRun(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows", "freebsd"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", ".")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: go build: %v\n%s", system, err, out)
		}
	}
}
