//go:build !linux

package main

import "os"

// startWriting leaves it to the sync.
func startWriting(*os.File, int64, int64) {}

// letGo leaves it to the kernel.
func letGo(*os.File, int64, int64) {}
