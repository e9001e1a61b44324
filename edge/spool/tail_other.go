//go:build !linux

package spool

import "errors"

// mapTail: without a way to allocate disk space for a mapping, each group is written by itself.
func mapTail(string) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapTail([]byte) error { return nil }
