//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package witness

import (
	"fmt"
	"os"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// takeLock keeps nobody out here: that one process at a time uses the folder
// is left to the operator.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, keyfile.Mode)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}
