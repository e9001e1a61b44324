package signer

import (
	"crypto/sha256"
	"sync"
)

// verifiedSlots is how many signatures are remembered: those of some seconds at ten thousand batches a second. It takes 2 MiB.
const verifiedSlots = 1 << 16

// verifiedDomain separates the digests of remembered signatures from every other use of SHA-256.
const verifiedDomain = "custody/verified/v1\x00"

// Verified remembers which signatures this process has found good. A process that meets the same batch more than once, at its
// door and in each of its folds, computes its signature once. What is remembered is SHA-256 of the key, the signature, the payload's type
// and the payload, so that nothing else is ever taken for it, and only success is remembered. It forgets at will. Nil remembers nothing.
//
// It is safe for concurrent use. Whoever must trust nobody, as an auditor's verifier, goes without it.
type Verified struct {
	locks [16]sync.Mutex // of each sixteenth of the slots
	slots [verifiedSlots][sha256.Size]byte
}

// VerifyDSSE is [VerifyDSSE].
func (v *Verified) VerifyDSSE(key PublicKey, payloadType string, payload, sig []byte) error {
	if v == nil || len(sig) != SignatureSize {
		return VerifyDSSE(key, payloadType, payload, sig)
	}
	digest := verifiedDigest(key, payloadType, payload, sig)
	if v.knows(&digest) {
		return nil
	}
	if err := VerifyDSSE(key, payloadType, payload, sig); err != nil {
		return err
	}
	v.remember(&digest)
	return nil
}

// verifiedDigest hashes what a signature is about. All parts before the encoded payload have a fixed length.
func verifiedDigest(key PublicKey, payloadType string, payload, sig []byte) (digest [sha256.Size]byte) {
	buf := borrowPAE(payloadType, payload)
	defer paeBuffers.Put(buf)
	h := sha256.New()
	h.Write([]byte(verifiedDomain))
	h.Write(key[:])
	h.Write(sig)
	h.Write(*buf)
	h.Sum(digest[:0])
	return digest
}

// slot is where a digest stands, if it is remembered, and the lock of it.
func (v *Verified) slot(digest *[sha256.Size]byte) (*[sha256.Size]byte, *sync.Mutex) {
	i := int(digest[0])<<8 | int(digest[1])
	return &v.slots[i], &v.locks[i%len(v.locks)]
}

func (v *Verified) knows(digest *[sha256.Size]byte) bool {
	slot, lock := v.slot(digest)
	lock.Lock()
	defer lock.Unlock()
	return *slot == *digest
}

func (v *Verified) remember(digest *[sha256.Size]byte) {
	slot, lock := v.slot(digest)
	lock.Lock()
	defer lock.Unlock()
	*slot = *digest
}
