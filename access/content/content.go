// Package content says how sealed content is encrypted between the door, which encrypts it before it
// reaches the stream, and the readers, which open it for a person: under which key, bound to what.
//
// # Keys
//
// The vault keeps a data key for each name and generation. The names are
//
//	"s/" ‖ subject   content about a subject; erased with it
//	"t"              content that names no subject
//	"h"              held events
//
// # Additional data
//
// AES-256-GCM authenticates, besides the ciphertext, where it belongs, so that it cannot be moved:
//
//	opening   "custody/opening/v1\0" ‖ tenant ‖ 0 ‖ event id (16 bytes) ‖ path
//	held      "custody/held/v1\0" ‖ tenant ‖ 0 ‖ event hash (32 bytes)
//
// # Plaintext
//
// Of an opening it is the salt (32 bytes) and the value; of a held event, the event's bytes.
package content

import (
	"errors"

	"github.com/agentcustody/custody/event"
)

const (
	openingDomain = "custody/opening/v1\x00"
	heldDomain    = "custody/held/v1\x00"
	subjectPrefix = "s/"
	tenantKey     = "t"
)

// HeldKey is the name of the key of held events.
const HeldKey = "h"

// ErrOpening says that a plaintext is shorter than its salt.
var ErrOpening = errors.New("opening is shorter than its salt")

// SubjectKey is the name of the key of content about a subject, or about none if it is empty.
func SubjectKey(subject string) string {
	if subject == "" {
		return tenantKey
	}
	return subjectPrefix + subject
}

// AppendOpeningData appends the additional data of an opening to dst.
func AppendOpeningData(dst []byte, tenant event.TenantID, id event.ID, path string) []byte {
	dst = append(append(dst, openingDomain...), tenant...)
	return append(append(append(dst, 0), id[:]...), path...)
}

// AppendHeldData appends the additional data of a held event to dst.
func AppendHeldData(dst []byte, tenant event.TenantID, eventHash [32]byte) []byte {
	dst = append(append(dst, heldDomain...), tenant...)
	return append(append(dst, 0), eventHash[:]...)
}

// AppendOpening appends the plaintext of an opening to dst.
func AppendOpening(dst, salt, value []byte) []byte { return append(append(dst, salt...), value...) }

// SplitOpening is the inverse of AppendOpening. The error is ErrOpening.
func SplitOpening(plaintext []byte) (salt [event.SaltSize]byte, value []byte, err error) {
	if len(plaintext) < len(salt) {
		return salt, nil, ErrOpening
	}
	return [event.SaltSize]byte(plaintext[:len(salt)]), plaintext[len(salt):], nil
}
