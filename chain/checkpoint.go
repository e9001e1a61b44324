package chain

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxOrigin is the longest origin in bytes: C2SP tlog-cosignature gives it a
// one-byte length.
const MaxOrigin = 255

// maxCheckpoint is the longest body in bytes: an origin, 19 digits, 44
// characters of base64 and three newlines.
const maxCheckpoint = MaxOrigin + 19 + 44 + 3

// ErrCheckpoint says that bytes are not the one encoding of a checkpoint body.
var ErrCheckpoint = errors.New("malformed checkpoint")

// Checkpoint is a tree head without its signatures.
type Checkpoint struct {
	Origin string // schema-less URL of the log, 1 ≤ length ≤ MaxOrigin bytes
	Size   Index  // number of leaves, ≤ MaxSize
	Root   Hash   // RFC 6962 root; EmptyRoot if and only if Size is 0
}

// Checkpoint returns the tree head of c under the given origin. The error is
// ErrOrigin if the chain belongs to another log.
func (c *Chain) Checkpoint(origin string) (Checkpoint, error) {
	if OriginHash(origin) != c.origin {
		return Checkpoint{}, fmt.Errorf("checkpoint of %q: %w", origin, ErrOrigin)
	}
	return Checkpoint{Origin: origin, Size: c.Size(), Root: c.Root()}, nil
}

// CheckOrigin refuses an origin that cannot name a note key: it must be 1 to
// MaxOrigin bytes of UTF-8 without spaces, controls and plus signs
// (https://c2sp.org/signed-note).
func CheckOrigin(origin string) error {
	bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' }
	if origin == "" || len(origin) > MaxOrigin || !utf8.ValidString(origin) || strings.IndexFunc(origin, bad) >= 0 {
		return fmt.Errorf("origin %q: %w", origin, ErrCheckpoint)
	}
	return nil
}

// MarshalText returns the three lines of the body, each ending in a newline.
// The error is ErrCheckpoint, for a checkpoint that ParseCheckpoint refuses.
func (c Checkpoint) MarshalText() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	return c.appendText(make([]byte, 0, maxCheckpoint)), nil
}

func (c Checkpoint) appendText(b []byte) []byte {
	b = append(append(b, c.Origin...), '\n')
	b = append(strconv.AppendUint(b, uint64(c.Size), 10), '\n')
	return append(base64.StdEncoding.AppendEncode(b, c.Root[:]), '\n')
}

// ParseCheckpoint is the inverse of MarshalText and accepts nothing else; in
// particular no extension lines. The error is ErrCheckpoint.
func ParseCheckpoint(body []byte) (Checkpoint, error) {
	if len(body) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %d bytes: %w", len(body), ErrCheckpoint)
	}
	lines := strings.Split(string(body), "\n")
	if len(lines) != 4 {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: not three lines: %w", ErrCheckpoint)
	}
	c, err := parseLines(lines[0], lines[1], lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	if string(c.appendText(nil)) != string(body) {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: not the one encoding: %w", ErrCheckpoint)
	}
	return c, nil
}

func parseLines(origin, size, root string) (Checkpoint, error) {
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("size: %w", ErrCheckpoint)
	}
	r, err := base64.StdEncoding.DecodeString(root)
	if err != nil || len(r) != HashSize {
		return Checkpoint{}, fmt.Errorf("root: %w", ErrCheckpoint)
	}
	c := Checkpoint{Origin: origin, Size: Index(n), Root: Hash(r)}
	return c, c.check()
}

func (c Checkpoint) check() error {
	if c.Size > MaxSize || (c.Size == 0) != (c.Root == emptyRoot) {
		return fmt.Errorf("size %d and root %s: %w", c.Size, c.Root, ErrCheckpoint)
	}
	return CheckOrigin(c.Origin)
}
