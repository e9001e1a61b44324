package signer_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

func receipt() signer.Receipt {
	return signer.Receipt{
		Origin: origin, Batch: chain.OriginHash("batch"), Sequence: 42,
		Time: 1_700_000_000_000_000_000, Deadline: 1_700_000_060_000_000_000,
	}
}

func receiptVerifier(t testing.TB) note.Verifier {
	t.Helper()
	v, err := signer.NoteVerifier(origin, key(1).Public())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signReceipt(t testing.TB) []byte {
	t.Helper()
	signed, err := signer.SignReceipt(receipt(), noteSigner(t, key(1), origin))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestReceiptRoundTrip(t *testing.T) {
	signed := signReceipt(t)
	if !strings.HasPrefix(string(signed), "custody/receipt/v1\norigin "+origin+"\nbatch ") {
		t.Errorf("receipt is\n%s", signed)
	}
	got, err := signer.OpenReceipt(signed, receiptVerifier(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(receipt(), got); diff != "" {
		t.Error(diff)
	}
}

func TestSignReceiptChecks(t *testing.T) {
	for name, change := range map[string]func(r *signer.Receipt){
		"origin":   func(r *signer.Receipt) { r.Origin = "a\nb" },
		"sequence": func(r *signer.Receipt) { r.Sequence = 0 },
		"time":     func(r *signer.Receipt) { r.Time = 0 },
		"deadline": func(r *signer.Receipt) { r.Deadline = r.Time - 1 },
	} {
		r := receipt()
		change(&r)
		if _, err := signer.SignReceipt(r, noteSigner(t, key(1), origin)); !errors.Is(err, signer.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every edit is either unsigned or, signed again by the same key, not the one
// encoding.
func TestOpenReceiptIsStrict(t *testing.T) {
	good := string(signReceipt(t))
	text, _, _ := strings.Cut(good, "\n\n")
	text += "\n"
	resign := func(old, replacement string) string {
		return string(signText(t, strings.Replace(text, old, replacement, 1)))
	}
	line := good[len(text)+1:]
	foreign, _ := note.Sign(&note.Note{Text: text}, noteSigner(t, key(1), origin), noteSigner(t, key(2), "other"))
	cases := []struct {
		name, signed string
		want         error
	}{
		{"edited", strings.Replace(good, "sequence 42", "sequence 43", 1), signer.ErrSignature},
		{"other key", string(must(note.Sign(&note.Note{Text: text}, noteSigner(t, key(2), origin)))), signer.ErrSignature},
		{"leading zero", resign("sequence 42", "sequence 042"), signer.ErrReceipt},
		{"plus", resign("time 1", "time +1"), signer.ErrReceipt},
		{"no sequence", resign("sequence 42\n", ""), signer.ErrReceipt},
		{"sequence 0", resign("sequence 42", "sequence 0"), signer.ErrReceipt},
		{"overflow", resign("sequence 42", "sequence 18446744073709551616"), signer.ErrReceipt},
		{"upper case batch", resign("batch ", "batch A"), signer.ErrReceipt},
		{"swapped lines", resign("time ", "deadline "), signer.ErrReceipt},
		{"extra line", resign("sequence", "note x\nsequence"), signer.ErrReceipt},
		{"other version", resign("receipt/v1", "receipt/v2"), signer.ErrReceipt},
		{"checkpoint", string(sign(t, checkpoint(5), noteSigner(t, key(1), origin))), signer.ErrReceipt},
		{"signed twice", good + line, signer.ErrReceipt},
		{"second signature", string(foreign), signer.ErrReceipt},
		{"not a note", "x", signer.ErrNote},
		{"too large", good + strings.Repeat("x", 5000), signer.ErrNote},
	}
	for _, c := range cases {
		if _, err := signer.OpenReceipt([]byte(c.signed), receiptVerifier(t)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// A receipt must not open as a checkpoint although one key may sign both.
func TestReceiptIsNotACheckpoint(t *testing.T) {
	if _, err := signer.OpenCheckpoint(signReceipt(t), origin, key(1).Public()); err == nil {
		t.Error("a receipt was taken for a checkpoint")
	}
}

// openAnything lets the fuzzer past the signature to the parser of the text.
type openAnything struct{ note.Verifier }

func (openAnything) Verify(_, _ []byte) bool { return true }

func FuzzReceipt(f *testing.F) {
	f.Add(signReceipt(f))
	v := openAnything{receiptVerifier(f)}
	f.Fuzz(func(t *testing.T, signed []byte) {
		r, err := signer.OpenReceipt(signed, v)
		if err != nil {
			return
		}
		again, err := signer.SignReceipt(r, noteSigner(t, key(1), origin))
		text, _, _ := strings.Cut(string(signed), "\n\n")
		if err != nil || !strings.HasPrefix(string(again), text+"\n\n") {
			t.Errorf("parse then encode is not the identity: %q, %v", again, err)
		}
	})
}
