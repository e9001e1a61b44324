package signer

import (
	"fmt"
	"strconv"
	"sync"
)

// PayloadTypeBatch is the DSSE payload type of a batch statement.
const PayloadTypeBatch = "application/vnd.custody.batch.v1+protobuf"

// PAE returns the DSSE v1 pre-authentication encoding, the bytes that are
// signed: "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload
// (https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md).
func PAE(payloadType string, payload []byte) []byte {
	return AppendPAE(make([]byte, 0, len(payloadType)+len(payload)+64), payloadType, payload)
}

// AppendPAE appends PAE to dst.
func AppendPAE(dst []byte, payloadType string, payload []byte) []byte {
	dst = append(dst, "DSSEv1 "...)
	dst = append(strconv.AppendInt(dst, int64(len(payloadType)), 10), ' ')
	dst = append(append(dst, payloadType...), ' ')
	dst = append(strconv.AppendInt(dst, int64(len(payload)), 10), ' ')
	return append(dst, payload...)
}

// messageSigner is what a Signer and an Exporter have in common.
type messageSigner interface {
	Sign(message []byte) ([]byte, error)
}

// SignDSSE returns the signature of a Signer, SignatureSize bytes, or of an Exporter over the PAE.
func SignDSSE(s messageSigner, payloadType string, payload []byte) ([]byte, error) {
	buf := borrowPAE(payloadType, payload)
	defer paeBuffers.Put(buf)
	sig, err := s.Sign(*buf)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", payloadType, err)
	}
	return sig, nil
}

// VerifyDSSE checks that sig was made by the holder of key over payload with
// exactly this payload type. The error is ErrSignature.
func VerifyDSSE(key PublicKey, payloadType string, payload, sig []byte) error {
	buf := borrowPAE(payloadType, payload)
	defer paeBuffers.Put(buf)
	if !key.Verify(*buf, sig) {
		return fmt.Errorf("verify %s by key %s: %w", payloadType, key.ID(), ErrSignature)
	}
	return nil
}

// paeBuffers keeps encodings off the heap of busy verifiers.
var paeBuffers = sync.Pool{New: func() any { return new([]byte) }}

func borrowPAE(payloadType string, payload []byte) *[]byte {
	buf := paeBuffers.Get().(*[]byte)
	*buf = AppendPAE((*buf)[:0], payloadType, payload)
	return buf
}
