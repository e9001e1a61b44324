//go:build unix

package vault

import (
	"fmt"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"
)

// A write that failed in the middle leaves nothing behind: when there is space again, keys are made as if it had
// never been tried, also those whose frame was written whole.
func TestFailedWriteIsCutOff(t *testing.T) {
	dir := t.TempDir()
	v, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Ensure("acme", []string{"first"}); err != nil {
		t.Fatal(err)
	}
	many := []string{"second"}
	for i := range maxFrame {
		many = append(many, fmt.Sprint("subject-", i))
	}
	limit := failBeyond(t, v.tenants["acme"].size+maxFrame*recordSize+100)
	if _, err := v.Ensure("acme", many); err == nil {
		t.Error("keys beyond the end of the disk")
	}
	limit()
	if _, err := v.Ensure("acme", many); err != nil {
		t.Fatal(err)
	}
	_ = v.Close()
	checkReopens(t, dir)
}

// failBeyond lets no file of this process grow beyond a size, until it is called off.
func failBeyond(t *testing.T, size int64) (off func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	off = func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(off)
	return off
}
