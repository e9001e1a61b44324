package edge_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
)

// into has receipts added to a file.
func into(file string) func(*edge.Config) { return func(c *edge.Config) { c.Receipts = file } }

// held are the batches of a file of receipts, each with its numbers.
func held(t *testing.T, file string) map[[event.DigestSize]byte]uint64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	batches := map[[event.DigestSize]byte]uint64{}
	for line := range strings.Lines(string(text)) {
		r, err := signer.ParseKeptReceipt([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		statement, err := event.ParseStatement(r.Statement)
		if err != nil {
			t.Fatal(err)
		}
		batches[event.BatchDigest(r.Statement)] = uint64(statement.GetCount())
	}
	return batches
}

func events(batches map[[event.DigestSize]byte]uint64) (n uint64) {
	for _, count := range batches {
		n += count
	}
	return n
}

// Whatever a process did not live to write, or another one moved away, every batch that left the spool has its receipt in a file.
func TestEveryReceiptIsKept(t *testing.T) {
	server := edgetest.New(t)
	dir, file := server.Join(t, instance), filepath.Join(t.TempDir(), "receipts.jsonl")
	e, _ := emitter(t, dir, into(file))
	record(t, e, 0, 4)
	flush(t, e)
	shut(t, e)
	half := keptText(t, file)
	if err := os.WriteFile(file, half[:len(half)-40], 0o600); err != nil { // as a loss of power leaves it
		t.Fatal(err)
	}
	e, _ = emitter(t, dir, into(file))
	record(t, e, 5, 9)
	flush(t, e)
	moved := file + ".1"
	if err := os.Rename(file, moved); err != nil {
		t.Fatal(err)
	}
	record(t, e, 10, 14)
	flush(t, e)
	shut(t, e)
	first, second := held(t, moved), held(t, file)
	if len(first)+len(second) != len(server.Batches(instance))-1 {
		t.Errorf("%d and %d receipts for %d batches, of which one was cut off", len(first), len(second), len(server.Batches(instance)))
	}
	if events(second) < 5 {
		t.Errorf("%d events have their receipts in the new file", events(second))
	}
}

func keptText(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const letter = "Dear customer,\n"

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What cannot be kept is not acknowledged: the batch stays in the spool, and its receipt comes again.
func TestReceiptThatCannotBeKeptIsAskedForAgain(t *testing.T) {
	server := edgetest.New(t)
	dir, file := server.Join(t, instance), filepath.Join(t.TempDir(), "receipts.jsonl")
	e, reported := emitter(t, dir, into(file))
	flush(t, e)
	first := held(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(t, file, letter)
	before := e.Stats().Acknowledged
	record(t, e, 0, 2)
	for end := time.Now().Add(10 * time.Second); !reported.contain("no file of receipts"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody says that the file is another")
		}
	}
	if got := string(keptText(t, file)); got != letter {
		t.Errorf("the file says %q", got)
	}
	if n := e.Stats().Acknowledged - before; n != 0 {
		t.Errorf("%d events are acknowledged", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	flush(t, e)
	shut(t, e)
	if batches := held(t, file); len(first)+len(batches) != len(server.Batches(instance)) {
		t.Errorf("%d and %d receipts for %d batches", len(first), len(batches), len(server.Batches(instance)))
	}
}

func TestReceiptsAreNotAddedToSomethingElse(t *testing.T) {
	server := edgetest.New(t)
	dir, file := server.Join(t, instance), filepath.Join(t.TempDir(), "letter.txt")
	for _, text := range []string{letter, "Dear", strings.Repeat("x", 3*signer.MaxKeptReceipt), letter + `{"note":"custody`} {
		write(t, file, text)
		if _, err := edge.Open(t.Context(), edge.Config{Dir: dir, Receipts: file}); err == nil || !strings.Contains(err.Error(), "no file of receipts") {
			t.Errorf("%.20q: %v", text, err)
		}
		if got := string(keptText(t, file)); got != text {
			t.Errorf("%.20q becomes %.20q", text, got)
		}
	}
}
