package ledger

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/agentcustody/custody/stream"
)

// streamDomain separates the running digest from every other use of SHA-256.
const streamDomain = "custody/stream/v1\x00"

// Digest is a SHA-256 hash.
type Digest = [sha256.Size]byte

// link is the running digest after a message; see the package comment. data is SHA-256 of its data.
func link(before Digest, m *stream.Message, data Digest) Digest {
	b := make([]byte, 0, len(streamDomain)+3*sha256.Size+16)
	b = append(b, streamDomain...)
	b = append(b, before[:]...)
	b = binary.BigEndian.AppendUint64(b, m.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Time))
	subject := sha256.Sum256([]byte(m.Subject))
	b = append(b, subject[:]...)
	b = append(b, data[:]...)
	return sha256.Sum256(b)
}
