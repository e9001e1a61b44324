package signer_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/signer"
)

func keptReceipt(t testing.TB) signer.KeptReceipt {
	t.Helper()
	return signer.KeptReceipt{Note: string(signReceipt(t)), Statement: []byte{8, 1, 18, 4, 'a', 'c', 'm', 'e'}}
}

func keptLine(t testing.TB, r signer.KeptReceipt) []byte {
	t.Helper()
	line, err := r.Line()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestKeptReceiptRoundTrip(t *testing.T) {
	line := keptLine(t, keptReceipt(t))
	if !strings.HasPrefix(string(line), `{"note":"custody/receipt/v1\norigin `) || strings.Count(string(line), "\n") != 1 {
		t.Errorf("line is %s", line)
	}
	got, err := signer.ParseKeptReceipt(line)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keptReceipt(t), got); diff != "" {
		t.Error(diff)
	}
}

func TestKeptReceiptIsStrict(t *testing.T) {
	good := string(keptLine(t, keptReceipt(t)))
	for name, line := range map[string]string{
		"nothing":        "",
		"no newline":     strings.TrimSuffix(good, "\n"),
		"two newlines":   good + "\n",
		"white space":    strings.Replace(good, ":", ": ", 1),
		"unknown field":  strings.Replace(good, "{", `{"batch":"",`, 1),
		"repeated field": strings.Replace(good, "{", `{"note":"x",`, 1),
		"other case":     strings.Replace(good, "note", "Note", 1),
		"no statement":   `{"note":"x","statement":""}` + "\n",
		"null":           `{"note":"x","statement":null}` + "\n",
		"no note":        `{"note":"","statement":"CAE="}` + "\n",
		"not base64":     `{"note":"x","statement":"*"}` + "\n",
		"too long":       `{"note":"` + strings.Repeat("x", signer.MaxKeptReceipt) + `","statement":"CAE="}` + "\n",
		"no JSON":        "custody/receipt/v1\n",
	} {
		if _, err := signer.ParseKeptReceipt([]byte(line)); !errors.Is(err, signer.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReceiptThatCannotBeKept(t *testing.T) {
	for name, r := range map[string]signer.KeptReceipt{
		"no note":      {Statement: []byte{1}},
		"no statement": {Note: "x"},
		"too long":     {Note: "x", Statement: make([]byte, signer.MaxKeptReceipt)},
	} {
		if _, err := r.Line(); !errors.Is(err, signer.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The longest that a server can send, about the longest statement, is kept.
func TestLongestReceiptIsKept(t *testing.T) {
	r := receipt()
	r.Origin = "example.com/custody/" + strings.Repeat("é", 110)
	r.Sequence, r.Time, r.Deadline = 1<<64-1, 1<<63-1, 1<<63-1
	note, err := signer.SignReceipt(r, noteSigner(t, key(1), r.Origin))
	if err != nil {
		t.Fatal(err)
	}
	kept := signer.KeptReceipt{Note: string(note), Statement: make([]byte, 1024)}
	if _, err := signer.ParseKeptReceipt(keptLine(t, kept)); err != nil {
		t.Error(err)
	}
}

// A line as long as is allowed is kept, and one byte more is not.
func TestLongestLine(t *testing.T) {
	r := signer.KeptReceipt{Note: "x", Statement: []byte{1}}
	r.Note = strings.Repeat("x", 1+signer.MaxKeptReceipt-len(keptLine(t, r)))
	if line := keptLine(t, r); len(line) != signer.MaxKeptReceipt {
		t.Errorf("line of %d bytes, want %d", len(line), signer.MaxKeptReceipt)
	} else if _, err := signer.ParseKeptReceipt(line); err != nil {
		t.Error(err)
	}
	r.Note += "x"
	if _, err := r.Line(); !errors.Is(err, signer.ErrReceipt) {
		t.Errorf("one byte more: %v", err)
	}
}

func FuzzKeptReceipt(f *testing.F) {
	f.Add(keptLine(f, keptReceipt(f)))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := signer.ParseKeptReceipt(line)
		if err != nil {
			return
		}
		if again, err := r.Line(); err != nil || string(again) != string(line) {
			t.Errorf("%q becomes %q: %v", line, again, err)
		}
	})
}
