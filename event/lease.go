package event

import "encoding/binary"

// LeaseMessage is what the system key signs for a lease that lasts longer than usual, over a restart: "custody/lease/v1\0" ‖ tenant ‖ 0
// ‖ id of the gate's key (32 bytes) ‖ nonce of the gate's connection (32 bytes) ‖ number of the renewal ‖ length in nanoseconds, both
// 8 bytes, big-endian. The signature is Ed25519 (RFC 8032).
func LeaseMessage(tenant string, key [DigestSize]byte, nonce []byte, number uint64, ttl int64) []byte {
	m := append([]byte("custody/lease/v1\x00"), tenant...)
	m = append(append(m, 0), key[:]...)
	m = binary.BigEndian.AppendUint64(append(m, nonce...), number)
	return binary.BigEndian.AppendUint64(m, uint64(ttl))
}
