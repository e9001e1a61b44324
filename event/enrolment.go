package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// EnrolmentMessage is what a key signs to be enrolled: "custody/enrol/v1\0" ‖ tenant ‖ 0 ‖ instance ‖ 0 ‖ producer class
// (one byte) ‖ public key (32 bytes). The signature is Ed25519 (RFC 8032) and stands as proof in the KeyChange.
func EnrolmentMessage(tenant, instance string, producer eventv1.ProducerClass, publicKey []byte) []byte {
	m := append([]byte("custody/enrol/v1\x00"), tenant...)
	m = append(append(m, 0), instance...)
	return append(append(m, 0, byte(producer)), publicKey...)
}
