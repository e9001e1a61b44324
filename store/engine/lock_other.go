//go:build !unix

package engine

import (
	"errors"
	"os"
)

func lockFolder(string) (*os.File, error) {
	return nil, errors.New("the embedded engine runs on unix only; use a ClickHouse server")
}
