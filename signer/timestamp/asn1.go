package timestamp

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Object identifiers: RFC 3161, RFC 5652, RFC 2634, RFC 5035, RFC 8017, RFC 5758, RFC 8419.
var (
	oidSignedData     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertV2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidRSAPSS         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidRSA            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidEd25519        = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidECDSAWithSHA2  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3}  // .2 to .4
	oidSHA2WithRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1} // .11 to .13
	statusGranted     = 0
	statusGrantedMods = 1
)

type response struct {
	Status statusInfo
	Token  asn1.RawValue `asn1:"optional"`
}

type statusInfo struct {
	Status   int
	Text     []asn1.RawValue `asn1:"optional"`
	FailInfo asn1.BitString  `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Digests      asn1.RawValue // SET OF AlgorithmIdentifier: each signer says its own again
	Content      encapsulated
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signerInfo  `asn1:"set"`
}

type encapsulated struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"explicit,tag:0"`
}

type signerInfo struct {
	Version    int
	ID         asn1.RawValue // IssuerAndSerialNumber, or [0] SubjectKeyIdentifier
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm  pkix.AlgorithmIdentifier
	Signature  []byte
	Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

type signingCert struct {
	Certs    []essCertID
	Policies asn1.RawValue `asn1:"optional"`
}

type essCertID struct {
	Hash   []byte
	Issuer asn1.RawValue `asn1:"optional"`
}

type signingCertV2 struct {
	Certs    []essCertIDv2
	Policies asn1.RawValue `asn1:"optional"`
}

type essCertIDv2 struct {
	Algorithm pkix.AlgorithmIdentifier `asn1:"optional"` // SHA-256 if absent
	Hash      []byte
	Issuer    asn1.RawValue `asn1:"optional"`
}

type tstInfo struct {
	Version    int
	Policy     asn1.ObjectIdentifier
	Imprint    imprint
	Serial     *big.Int
	Time       time.Time     `asn1:"generalized"`
	Accuracy   accuracy      `asn1:"optional"`
	Ordering   bool          `asn1:"optional,default:false"`
	Nonce      *big.Int      `asn1:"optional"`
	TSA        asn1.RawValue `asn1:"optional,tag:0"`
	Extensions asn1.RawValue `asn1:"optional,tag:1"`
}

type imprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Hash      []byte
}

type accuracy struct {
	Seconds int `asn1:"optional"`
	Millis  int `asn1:"optional,tag:0"`
	Micros  int `asn1:"optional,tag:1"`
}

// pssParameters are RSASSA-PSS-params, each said: RFC 4055 section 3.1. The defaults are SHA-1's and not wanted.
type pssParameters struct {
	Hash       pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
	Mask       pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
	SaltLength int                      `asn1:"explicit,tag:2"`
	Trailer    int                      `asn1:"optional,explicit,tag:3,default:1"`
}

// request is a TimeStampReq.
type request struct {
	Version int
	Imprint imprint
	Policy  asn1.ObjectIdentifier `asn1:"optional"`
	Nonce   *big.Int              `asn1:"optional"`
	CertReq bool                  `asn1:"optional,default:false"`
}

var errTrailing = errors.New("trailing data")

// unmarshal reads one value that is all of b.
func unmarshal(b []byte, value any, params string) error {
	rest, err := asn1.UnmarshalWithParams(b, value, params)
	if err == nil && len(rest) > 0 {
		err = errTrailing
	}
	return err
}

func hashOf(a pkix.AlgorithmIdentifier) (crypto.Hash, error) {
	switch {
	case a.Algorithm.Equal(oidSHA256):
		return crypto.SHA256, nil
	case a.Algorithm.Equal(oidSHA384):
		return crypto.SHA384, nil
	case a.Algorithm.Equal(oidSHA512):
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("hash algorithm %v: %w", a.Algorithm, ErrToken)
}

// signatureAlgorithm is how the signer's signature is checked. With plain rsaEncryption the digest says which hash.
func signatureAlgorithm(s *signerInfo) (x509.SignatureAlgorithm, error) {
	rsa := map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA}
	switch oid := s.Algorithm.Algorithm; {
	case oid.Equal(oidRSA):
		hash, err := hashOf(s.Digest)
		return rsa[hash], err
	case oid.Equal(oidRSAPSS):
		return pssAlgorithm(s)
	case oid.Equal(append(oidSHA2WithRSA, 11)):
		return x509.SHA256WithRSA, nil
	case oid.Equal(append(oidSHA2WithRSA, 12)):
		return x509.SHA384WithRSA, nil
	case oid.Equal(append(oidSHA2WithRSA, 13)):
		return x509.SHA512WithRSA, nil
	case oid.Equal(append(oidECDSAWithSHA2, 2)):
		return x509.ECDSAWithSHA256, nil
	case oid.Equal(append(oidECDSAWithSHA2, 3)):
		return x509.ECDSAWithSHA384, nil
	case oid.Equal(append(oidECDSAWithSHA2, 4)):
		return x509.ECDSAWithSHA512, nil
	case oid.Equal(oidEd25519):
		return x509.PureEd25519, nil
	}
	return 0, fmt.Errorf("signature algorithm %v: %w", s.Algorithm.Algorithm, ErrToken)
}

// pssAlgorithm holds the parameters to the one set that is taken: the digest's hash throughout (RFC 4056 section 3), and a salt as long as it.
func pssAlgorithm(s *signerInfo) (x509.SignatureAlgorithm, error) {
	pss := map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSAPSS, crypto.SHA384: x509.SHA384WithRSAPSS, crypto.SHA512: x509.SHA512WithRSAPSS}
	var p pssParameters
	var inMask pkix.AlgorithmIdentifier
	err := unmarshal(s.Algorithm.Parameters.FullBytes, &p, "")
	if err == nil {
		err = unmarshal(p.Mask.Parameters.FullBytes, &inMask, "")
	}
	hash, unknown := hashOf(s.Digest)
	if err := errors.Join(err, unknown); err != nil {
		return 0, fmt.Errorf("parameters of RSA-PSS: %w: %w", ErrToken, err)
	}
	digest := s.Digest.Algorithm
	if !p.Hash.Algorithm.Equal(digest) || !p.Mask.Algorithm.Equal(oidMGF1) || !inMask.Algorithm.Equal(digest) || p.SaltLength != hash.Size() || p.Trailer != 1 {
		return 0, fmt.Errorf("parameters of RSA-PSS: %w", ErrToken)
	}
	return pss[hash], nil
}
