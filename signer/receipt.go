package signer

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
)

// receiptHeader is the first line of every receipt and its domain.
const receiptHeader = "custody/receipt/v1"

// maxReceipt is the largest signed receipt in bytes: 512 for the text without
// the origin, the origin twice, and one signature line.
const maxReceipt = 512 + 2*chain.MaxOrigin + 128

// ErrReceipt says that bytes are not the one encoding of a receipt.
var ErrReceipt = fmt.Errorf("malformed receipt: %w", ErrNote)

// Receipt is the promise that a batch will have its leaves in the log by the
// deadline. A receipt without a leaf after the deadline proves an omission to
// anybody. Its text is six lines, decimal numbers without leading zeros:
//
//	custody/receipt/v1
//	origin example.com/custody/7f3a
//	batch 5f3c…                          64 hexadecimal digits
//	sequence 42
//	time 1700000000000000000
//	deadline 1700000060000000000
type Receipt struct {
	Origin   string     // log that the batch goes to
	Batch    chain.Hash // batch digest
	Sequence uint64     // stream sequence, from 1
	Time     int64      // when the stream took the batch, ns UTC, > 0
	Deadline int64      // merge deadline, ns UTC, ≥ Time
}

// SignReceipt returns the signed note of r.
func SignReceipt(r Receipt, s note.Signer) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign receipt: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: r.text()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign receipt: %w", err)
	}
	return signed, nil
}

// OpenReceipt verifies a signed receipt and reads it. It accepts exactly one
// signature, that of v, and one encoding. Errors: ErrSignature, ErrReceipt,
// ErrNote.
func OpenReceipt(signed []byte, v note.Verifier) (Receipt, error) {
	if len(signed) > maxReceipt {
		return Receipt{}, fmt.Errorf("open receipt of %d bytes: %w", len(signed), ErrReceipt)
	}
	n, err := openNote(signed, v)
	if err != nil {
		return Receipt{}, fmt.Errorf("open receipt: %w", err)
	}
	if err := checkOneSignature(signed, n); err != nil {
		return Receipt{}, fmt.Errorf("open receipt: %w", err)
	}
	r, err := parseReceipt(n.Text)
	if err != nil {
		return Receipt{}, fmt.Errorf("open receipt: %w", err)
	}
	return r, nil
}

// checkOneSignature refuses what note.Open forgives: repeated and foreign
// signatures, and base64 with stray bits.
func checkOneSignature(signed []byte, n *note.Note) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) != 4+SignatureSize {
		return fmt.Errorf("signature line: %w", ErrReceipt)
	}
	again, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs[:1]})
	if err != nil || string(again) != string(signed) {
		return fmt.Errorf("not exactly one signature: %w", ErrReceipt)
	}
	return nil
}

func (r *Receipt) text() string {
	return fmt.Sprintf("%s\norigin %s\nbatch %s\nsequence %d\ntime %d\ndeadline %d\n",
		receiptHeader, r.Origin, r.Batch, r.Sequence, r.Time, r.Deadline)
}

func (r *Receipt) check() error {
	if err := chain.CheckOrigin(r.Origin); err != nil {
		return fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if r.Sequence == 0 || r.Time <= 0 || r.Deadline < r.Time {
		return fmt.Errorf("sequence %d, time %d, deadline %d: %w", r.Sequence, r.Time, r.Deadline, ErrReceipt)
	}
	return nil
}

func parseReceipt(text string) (Receipt, error) {
	fields, err := receiptFields(text)
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{Origin: fields[0]}
	if r.Batch, err = chain.ParseHash(fields[1]); err != nil {
		return Receipt{}, fmt.Errorf("batch: %w: %w", ErrReceipt, err)
	}
	if r.Sequence, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
		return Receipt{}, fmt.Errorf("sequence: %w", ErrReceipt)
	}
	if r.Time, err = strconv.ParseInt(fields[3], 10, 64); err != nil {
		return Receipt{}, fmt.Errorf("time: %w", ErrReceipt)
	}
	if r.Deadline, err = strconv.ParseInt(fields[4], 10, 64); err != nil {
		return Receipt{}, fmt.Errorf("deadline: %w", ErrReceipt)
	}
	if err := r.check(); err != nil {
		return Receipt{}, err
	}
	if r.text() != text { // leading zeros, signs
		return Receipt{}, fmt.Errorf("second encoding: %w", ErrReceipt)
	}
	return r, nil
}

var receiptNames = [...]string{"origin ", "batch ", "sequence ", "time ", "deadline "}

// receiptFields returns the values of the five named lines.
func receiptFields(text string) (values [len(receiptNames)]string, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != len(receiptNames)+2 || lines[0] != receiptHeader || lines[len(lines)-1] != "" {
		return values, fmt.Errorf("not the lines of %s: %w", receiptHeader, ErrReceipt)
	}
	for i, name := range receiptNames {
		value, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return values, fmt.Errorf("line %d is not %q: %w", i+2, name, ErrReceipt)
		}
		values[i] = value
	}
	return values, nil
}
