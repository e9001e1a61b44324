package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentcustody/custody/store/engine"
)

// The test binary runs itself as a child: a process has one engine, and some
// tests need two, or one to kill.
const (
	childEnv  = "ENGINE_TEST_CHILD"
	childPath = "ENGINE_TEST_PATH"

	childWrite = "write" // insert for ever, print what returned
	childRead  = "read"  // print what is stored
	childOpen  = "open"  // open and close, twice
)

func child(mode string) int {
	e, err := engine.Open(engine.Config{Path: os.Getenv(childPath)})
	if errors.Is(err, engine.ErrLocked) {
		fmt.Println("locked:", err)
		return 0
	}
	if err != nil {
		return complain(err)
	}
	db, err := clickhouse.Open(e.Options())
	if err != nil {
		return complain(err)
	}
	switch mode {
	case childWrite:
		err = writeForEver(db)
	case childRead:
		err = printStored(db)
	case childOpen:
		err = reopen(e)
		e = nil
	}
	if err == nil && e != nil {
		err = errors.Join(db.Close(), e.Close())
	}
	if err != nil {
		return complain(err)
	}
	return 0
}

const blockRows = 500

func writeForEver(db driver.Conn) error {
	ctx := context.Background()
	err := db.Exec(ctx, `CREATE TABLE t (block UInt64, n UInt64) ENGINE = MergeTree ORDER BY (block, n)
		SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`)
	for block := uint64(0); err == nil; block++ {
		blocks, ns := make([]uint64, blockRows), make([]uint64, blockRows)
		for i := range ns {
			blocks[i], ns[i] = block, uint64(i)
		}
		if err = tryInsert(ctx, db, "INSERT INTO t (block, n)", blocks, ns); err == nil {
			fmt.Println(block)
		}
	}
	return err
}

// printStored prints how many blocks are stored, or what is wrong with them.
func printStored(db driver.Conn) error {
	var blocks, last, broken uint64
	err := db.QueryRow(context.Background(), `SELECT count(), max(block), countIf(rows != {n:UInt64} OR distinct != {n:UInt64})
		FROM (SELECT block, count() AS rows, uniqExact(n) AS distinct FROM t GROUP BY block)`,
		clickhouse.Named("n", blockRows)).Scan(&blocks, &last, &broken)
	if err == nil && (broken > 0 || last+1 != blocks) {
		err = fmt.Errorf("%d blocks up to %d, %d broken", blocks, last, broken)
	}
	fmt.Println(blocks)
	return err
}

func reopen(e *engine.Engine) error {
	if err := closeUnderWay(e); err != nil {
		return err
	}
	if err := e.Close(); !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("second close: %w", err)
	}
	e, err := engine.Open(engine.Config{Path: os.Getenv(childPath) + "-other"})
	if err != nil {
		return err
	}
	fmt.Println(e.Version())
	return e.Close()
}

// closeUnderWay closes the engine while one statement runs and the result of
// another lies half read.
func closeUnderWay(e *engine.Engine) error {
	db, err := clickhouse.Open(e.Options())
	if err != nil {
		return err
	}
	rows, err := db.Query(context.Background(), endlessResult)
	if err != nil {
		return err
	}
	running := make(chan error)
	go func() { running <- db.Exec(context.Background(), endless) }()
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	if err := e.Close(); err != nil || time.Since(start) > 2*time.Second {
		return fmt.Errorf("close after %v: %w", time.Since(start), err)
	}
	if err := <-running; !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("running statement: %w", err)
	}
	for rows.Next() {
	}
	if err := rows.Err(); !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("half read result: %w", err)
	}
	if err := db.Exec(context.Background(), "SELECT 1"); !errors.Is(err, engine.ErrClosed) {
		return fmt.Errorf("after close: %w", err)
	}
	return nil
}

func childCommand(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), childEnv+"="+mode, childPath+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestKillLosesNoInsertThatReturned(t *testing.T) {
	const blocksBeforeKill = 40
	dir := t.TempDir()
	writer := childCommand(t, childWrite, dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	returned := uint64(0)
	for lines := bufio.NewScanner(out); lines.Scan(); returned++ {
		if returned == blocksBeforeKill {
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = writer.Wait() // it was killed
	stored, err := childCommand(t, childRead, dir).Output()
	if err != nil {
		t.Fatalf("%s: %v", stored, err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(stored)), 10, 64)
	if err != nil || n < returned || n > returned+1 {
		t.Errorf("%d inserts returned, %d are stored, %v", returned, n, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	writer := childCommand(t, childWrite, dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("the first process does not write")
	}
	said, err := childCommand(t, childOpen, dir).Output()
	_ = writer.Process.Kill()
	_ = writer.Wait()
	want := fmt.Sprintf("(process %d)", writer.Process.Pid)
	if err != nil || !strings.HasPrefix(string(said), "locked:") || !strings.Contains(string(said), want) {
		t.Errorf("%q, %v; want %s", said, err, want)
	}
}

// Also: a config.xml in the working directory is not the engine's.
func TestCloseAndOpenElsewhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.xml"), []byte("<clickhouse><broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	library, err := engine.Find()
	if err != nil {
		t.Fatal(err)
	}
	cmd := childCommand(t, childOpen, filepath.Join(dir, "a"))
	cmd.Dir, cmd.Env = dir, append(cmd.Env, "CUSTODY_LIBCHDB="+library)
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != shared.Version() {
		t.Errorf("%q, %v", out, err)
	}
}
