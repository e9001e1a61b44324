package event

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// TenantID is a client: [a-z0-9-]{1,63}.
type TenantID string

// InstanceID is a deployed agent of a tenant: [a-z0-9-]{1,63}.
type InstanceID string

// RunID is one task of an instance: 1 to MaxID bytes of UTF-8.
type RunID string

// ID is an event's id: a UUIDv7 (RFC 9562 section 5.7).
type ID [IDSize]byte

// ErrID says that something is not the id of an event.
var ErrID = errors.New("not a UUIDv7")

// NewID returns an id for the time now: 48 bits of milliseconds, then 74 bits read from rnd (nil: crypto/rand). An id
// derived from other things is made by giving their hash as rnd. It panics if rnd fails.
func NewID(now time.Time, rnd io.Reader) ID { return ID(AppendID(nil, now, rnd)) }

// AppendID is NewID into the room behind dst.
func AppendID(dst []byte, now time.Time, rnd io.Reader) []byte {
	if rnd == nil {
		rnd = rand.Reader
	}
	dst = append(dst, make([]byte, IDSize)...)
	id := dst[len(dst)-IDSize:]
	binary.BigEndian.PutUint64(id, uint64(now.UnixMilli())<<16)
	if _, err := io.ReadFull(rnd, id[6:]); err != nil {
		panic(fmt.Sprintf("event: new id: %v", err))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return dst
}

// IDFromBytes is the id in 16 bytes. The error is ErrID.
func IDFromBytes(b []byte) (ID, error) {
	if !isID(b) {
		return ID{}, ErrID
	}
	return ID(b), nil
}

// ParseID reads the form that String writes, and no other. The error is ErrID.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, ErrID
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil || !isID(id[:]) || id.String() != s {
		return ID{}, ErrID
	}
	return id, nil
}

// String is the lower-case form of RFC 9562 section 4.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Time is the millisecond in the id. Its maker's clock is not to be trusted.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

// isID checks length, version and variant.
func isID(b []byte) bool { return len(b) == IDSize && b[6]>>4 == 7 && b[8]>>6 == 2 }

// ValidName reports whether s can name a tenant or an instance: [a-z0-9-]{1,63}.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
