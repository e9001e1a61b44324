//go:build !unix

package edge

import (
	"errors"
	"fmt"
	"os"
)

// ErrInUse says that another process uses the emitter's folder.
var ErrInUse = errors.New("the emitter's folder is in use")

// lockDir refuses: without a lock that ends with the process, two processes could use one key.
func lockDir(string) (*os.File, error) {
	return nil, fmt.Errorf("lock the emitter's folder on this system: %w", errors.ErrUnsupported)
}
