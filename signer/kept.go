package signer

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MaxKeptReceipt is the longest line of a file of receipts in bytes: the note, with each newline escaped and names in any script, and a
// statement of at most 1,024 bytes in base64.
const MaxKeptReceipt = 2*maxReceipt + 1400 + 64

// KeptReceipt is a receipt as its holder keeps it: with the statement that its batch digest is made from, so that somebody else can read
// which records it is for, and after which record of the log they were signed. In a file it is one line of JSON:
//
//	{"note":"custody/receipt/v1\norigin …","statement":"CAES…"}
type KeptReceipt struct {
	Note      string `json:"note"`      // signed note of a Receipt
	Statement []byte `json:"statement"` // custody.event.v1.BatchStatement, as it was signed
}

// Line is the one encoding of r: fields in this order, no white space, a newline at the end. The error is ErrReceipt, for what ParseKeptReceipt would refuse.
func (r *KeptReceipt) Line() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil || len(b) >= MaxKeptReceipt || r.Note == "" || len(r.Statement) == 0 {
		return nil, fmt.Errorf("keep a receipt of %d bytes: %w", len(b), ErrReceipt)
	}
	return append(b, '\n'), nil
}

// ParseKeptReceipt accepts exactly what Line writes. It looks at neither the note nor the statement. The error is ErrReceipt.
func ParseKeptReceipt(line []byte) (KeptReceipt, error) {
	var r KeptReceipt
	if len(line) > MaxKeptReceipt {
		return r, fmt.Errorf("parse a kept receipt of %d bytes: %w", len(line), ErrReceipt)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return KeptReceipt{}, fmt.Errorf("parse a kept receipt: %w: %w", ErrReceipt, err)
	}
	if again, err := r.Line(); err != nil || !bytes.Equal(again, line) {
		return KeptReceipt{}, fmt.Errorf("parse a kept receipt: not in its one encoding: %w", ErrReceipt)
	}
	return r, nil
}
