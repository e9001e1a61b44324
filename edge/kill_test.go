package edge_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Environment of the child process.
const (
	childDir  = "CUSTODY_TEST_CHILD_DIR"
	childFrom = "CUSTODY_TEST_CHILD_FROM"
)

// child records numbers and says each one when Record has returned, until it is killed.
func child() {
	e, err := edge.Open(context.Background(), edge.Config{Dir: os.Getenv(childDir), MaxBatchAge: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var from int
	fmt.Sscan(os.Getenv(childFrom), &from) //nolint:errcheck // set by the test
	for i := from; ; i++ {
		ev := note(i)
		if i%7 == 0 {
			ev = longNote(i, 600<<10) // travels as an object
		}
		if _, err := e.Record(context.Background(), ev); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// TestKilled kills the recording process at random moments while the server fails now and then. Whatever Record had
// returned for arrives exactly once and in order.
func TestKilled(t *testing.T) {
	server := edgetest.New(t)
	server.Judge(func(edgetest.Batch) edgetest.Verdict {
		n := rand.IntN(20)
		return edgetest.Verdict{Cut: n == 0, Lose: n == 1}
	})
	dir := server.Join(t, instance)
	next := 1
	for range 8 {
		next = runChild(t, dir, next)
	}
	e, _ := emitter(t, dir)
	flush(t, e)
	shut(t, e)
	checkEpochs(t, server, 9)
	checkSequence(t, server.Events(instance), next-1)
}

// runChild returns the number after the last that the child has said.
func runChild(t *testing.T, dir string, from int) (next int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0]) //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprint(childFrom, "=", from))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next = from
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if next == from {
			time.AfterFunc(time.Duration(rand.IntN(80))*time.Millisecond, func() { cmd.Process.Kill() }) //nolint:errcheck // it may be gone
		}
		var n int
		if _, err := fmt.Sscan(lines.Text(), &n); err == nil {
			next = n + 1
		}
	}
	if err := cmd.Wait(); err == nil || next == from {
		t.Fatalf("the child recorded %d events and ended with %v", next-from, err)
	}
	return next
}

// checkSequence: every number up to last is there, in order and once. A number that a child recorded and did not live to
// say is there twice, because the next child begins with it: as two events.
func checkSequence(t *testing.T, events []*eventv1.Event, last int) {
	t.Helper()
	ids := make(map[string]bool)
	want := 1
	for _, e := range events {
		var n int
		fmt.Sscan(e.GetData().GetResource(), &n) //nolint:errcheck // written by note
		switch {
		case ids[string(e.GetId())]:
			t.Fatalf("event %d came twice", n)
		case n == want:
			want++
		case n >= want:
			t.Fatalf("event %d came, %d is missing", n, want)
		}
		ids[string(e.GetId())] = true
	}
	if want <= last {
		t.Errorf("the server has everything up to %d, the children recorded up to %d", want-1, last)
	}
}
