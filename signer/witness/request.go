package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agentcustody/custody/chain"
)

// Limits of a request.
const (
	maxProof   = 63       // hashes: https://c2sp.org/tlog-witness, the depth of the largest log
	maxNote    = 64 << 10 // bytes of the checkpoint with its signatures
	maxRequest = len("old 9223372036854775807\n") + maxProof*45 + 1 + maxNote
)

// ErrRequest says that bytes are not the body of an add-checkpoint request.
var ErrRequest = errors.New("malformed add-checkpoint request")

// Request is the body of an add-checkpoint request.
type Request struct {
	Old        chain.Index  // size of the checkpoint that the witness cosigned last, 0 for none
	Proof      []chain.Hash // consistency proof from Old to the checkpoint's size
	Checkpoint []byte       // signed note
}

// Marshal returns the body.
func (r *Request) Marshal() []byte {
	b := strconv.AppendUint([]byte("old "), uint64(r.Old), 10)
	b = append(b, '\n')
	for i := range r.Proof {
		b = append(base64.StdEncoding.AppendEncode(b, r.Proof[i][:]), '\n')
	}
	return append(append(b, '\n'), r.Checkpoint...)
}

// ParseRequest is the inverse of Marshal and accepts nothing else. The checkpoint is not looked at. The error is ErrRequest.
func ParseRequest(body []byte) (*Request, error) {
	head, note, found := bytes.Cut(body, []byte("\n\n"))
	if !found || len(body) > maxRequest || len(note) == 0 {
		return nil, fmt.Errorf("%d bytes: %w", len(body), ErrRequest)
	}
	lines := strings.Split(string(head), "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(size, 10, 63)
	if !isOld || err != nil || len(lines) > 1+maxProof {
		return nil, fmt.Errorf("old size or number of hashes: %w", ErrRequest)
	}
	r := &Request{Old: chain.Index(old), Checkpoint: note}
	for _, line := range lines[1:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != chain.HashSize {
			return nil, fmt.Errorf("hash %d: %w", len(r.Proof), ErrRequest)
		}
		r.Proof = append(r.Proof, chain.Hash(hash))
	}
	if !bytes.Equal(r.Marshal(), body) { // leading zeros, line breaks in base64
		return nil, fmt.Errorf("second encoding: %w", ErrRequest)
	}
	return r, nil
}
