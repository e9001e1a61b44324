package timestamp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Maker is who makes a stamp, and when.
type Maker struct {
	Key          *ecdsa.PrivateKey     // P-256
	Certificates []*x509.Certificate   // the key's first
	Serial       *big.Int              // different in every stamp of the key
	Time         time.Time             // is cut to seconds
	Policy       asn1.ObjectIdentifier // nil is NotQualified

	RevocationLists []*x509.RevocationList // go into the stamp beside the certificates
}

// stampAccuracy is what an authority of one's own claims: its machine's clock, cut to seconds.
const stampAccuracy = 1 // second

// Make returns the DER TimeStampResp to a TimeStampReq. The error is ErrToken for a request that is not one, or with an imprint that is not
// SHA-256.
func Make(query []byte, m Maker) ([]byte, error) {
	var r request
	if err := unmarshal(query, &r, ""); err != nil {
		return nil, fmt.Errorf("read time-stamp request: %w: %w", ErrToken, err)
	}
	if r.Version != 1 || !r.Imprint.Algorithm.Algorithm.Equal(oidSHA256) || len(r.Imprint.Hash) != sha256.Size {
		return nil, fmt.Errorf("read time-stamp request: another version or imprint: %w", ErrToken)
	}
	if m.Policy == nil {
		m.Policy = NotQualified
	}
	content, err := asn1.Marshal(tstInfo{
		Version: 1, Policy: m.Policy, Imprint: r.Imprint, Serial: m.Serial, Time: m.Time.UTC().Truncate(time.Second),
		Accuracy: accuracy{Seconds: stampAccuracy}, Nonce: r.Nonce,
	})
	if err != nil {
		return nil, fmt.Errorf("make time stamp: %w", err)
	}
	return m.sign(content)
}

// asn1 values that are written by hand.
type outResponse struct {
	Status struct{ Status int }
	Token  outContentInfo
}

type outContentInfo struct {
	Type    asn1.ObjectIdentifier
	Content outSignedData `asn1:"explicit,tag:0"`
}

type outSignedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      encapsulated
	Certificates asn1.RawValue
	CRLs         asn1.RawValue   `asn1:"optional"`
	Signers      []outSignerInfo `asn1:"set"`
}

type outSignerInfo struct {
	Version    int
	ID         issuerAndSerial
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue
	Algorithm  pkix.AlgorithmIdentifier
	Signature  []byte
}

// sign wraps what is stamped: RFC 5652 section 5.
func (m *Maker) sign(content []byte) ([]byte, error) {
	own := m.Certificates[0]
	attributes, err := signedAttributes(content, own)
	if err != nil {
		return nil, fmt.Errorf("make time stamp: %w", err)
	}
	sum := sha256.Sum256(attributes)
	signature, err := m.Key.Sign(nil, sum[:], crypto.SHA256) // deterministic: RFC 6979
	if err != nil {
		return nil, fmt.Errorf("make time stamp: %w", err)
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	out := outResponse{Token: outContentInfo{Type: oidSignedData, Content: outSignedData{
		Version: 3, Digests: []pkix.AlgorithmIdentifier{sha}, Content: encapsulated{oidTSTInfo, content}, Certificates: m.certificates(), CRLs: m.lists(),
		Signers: []outSignerInfo{{
			Version: 1, ID: issuerAndSerial{asn1.RawValue{FullBytes: own.RawIssuer}, own.SerialNumber}, Digest: sha,
			Attributes: retagged(attributes), Algorithm: pkix.AlgorithmIdentifier{Algorithm: append(slices.Clone(oidECDSAWithSHA2), 2)},
			Signature: signature,
		}},
	}}}
	der, err := asn1.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("make time stamp: %w", err)
	}
	return der, nil
}

// signedAttributes is the SET that is signed.
func signedAttributes(content []byte, own *x509.Certificate) ([]byte, error) {
	digest, certificate := sha256.Sum256(content), sha256.Sum256(own.Raw)
	named := struct{ Certs []struct{ Hash []byte } }{[]struct{ Hash []byte }{{certificate[:]}}}
	list := make([]attribute, 0, 3)
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{{oidContentType, oidTSTInfo}, {oidMessageDigest, digest[:]}, {oidSigningCertV2, named}} {
		der, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		list = append(list, attribute{a.oid, []asn1.RawValue{{FullBytes: der}}})
	}
	return asn1.MarshalWithParams(list, "set") // in the order of DER
}

// retagged is the SET with the tag that it has inside a SignerInfo.
func retagged(set []byte) asn1.RawValue {
	b := bytes.Clone(set)
	b[0] = 0xa0
	return asn1.RawValue{FullBytes: b}
}

func (m *Maker) certificates() asn1.RawValue {
	var all []byte
	for _, c := range m.Certificates {
		all = append(all, c.Raw...)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: all}
}

func (m *Maker) lists() (v asn1.RawValue) {
	for _, l := range m.RevocationLists {
		v.Bytes = append(v.Bytes, l.Raw...)
	}
	if len(v.Bytes) > 0 {
		v.Class, v.Tag, v.IsCompound = asn1.ClassContextSpecific, 1, true
	}
	return v
}
