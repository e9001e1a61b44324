//go:build !unix

package engine

import (
	"errors"
	"os"
)

var errUnix = errors.New("the embedded engine runs on unix only; use a ClickHouse server")

func bind(string, map[string]any) error { return errUnix }

func lockFolder(string) (*os.File, error) { return nil, errUnix }
