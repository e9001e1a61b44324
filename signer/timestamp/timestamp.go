package timestamp

import (
	"bytes"
	"crypto"
	"crypto/sha1" //nolint:gosec // RFC 2634 names the signing certificate so; what binds it is the signature
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512 for crypto.Hash
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// MaxResponse is the size in bytes of a response that is read: a token with a chain of certificates is some 8 KiB.
const MaxResponse = 64 << 10

// NotQualified is the policy of stamps by an operator's own authority. It stands in the range that RFC 5612 keeps for documentation,
// so that it cannot be taken for the policy of anybody who is supervised.
var NotQualified = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 3161, 1}

var (
	// ErrToken says that bytes are no time-stamp response of the form that the package comment states.
	ErrToken = errors.New("malformed time stamp")
	// ErrRefused says that the authority has refused to stamp.
	ErrRefused = errors.New("time stamp was refused")
	// ErrImprint says that a stamp is of something else.
	ErrImprint = errors.New("time stamp is of something else")
	// ErrStampSignature says that a stamp is not signed by the certificate in it.
	ErrStampSignature = errors.New("time stamp's signature does not hold")
	// ErrAuthority says that a stamp's certificate may not make time stamps, leads to no pinned root, or was not valid then.
	ErrAuthority = errors.New("time stamp is of no authority that is trusted")
)

// Stamp is a time stamp whose signature was verified with the certificate inside it. Who that is, Verify says.
type Stamp struct {
	Time      time.Time     // UTC
	Accuracy  time.Duration // the true time is within ± of Time; 0 if the authority does not say
	Imprint   [sha256.Size]byte
	Serial    *big.Int
	Nonce     *big.Int // nil if there is none
	Policy    asn1.ObjectIdentifier
	Authority string // subject of the certificate

	signer *x509.Certificate
	others []*x509.Certificate
	lists  []*x509.RevocationList // of the token
}

// Qualified reports whether the stamp may be one of a supervised authority. Those by an operator's own are marked.
func (s *Stamp) Qualified() bool { return !s.Policy.Equal(NotQualified) }

// Earliest and Latest bound the time that the stamp states.
func (s *Stamp) Earliest() time.Time { return s.Time.Add(-s.Accuracy) }

// Latest is the end of the interval.
func (s *Stamp) Latest() time.Time { return s.Time.Add(s.Accuracy) }

// Parse reads a DER TimeStampResp and checks its signature with the certificate inside. Errors: ErrToken, ErrRefused,
// ErrStampSignature.
func Parse(der []byte) (*Stamp, error) {
	token, err := granted(der)
	if err != nil {
		return nil, fmt.Errorf("parse time stamp: %w", err)
	}
	data, err := parseSignedData(token)
	if err != nil {
		return nil, fmt.Errorf("parse time stamp: %w: %w", ErrToken, err)
	}
	stamp, err := readInfo(data.Content.Content)
	if err != nil {
		return nil, fmt.Errorf("parse time stamp: %w: %w", ErrToken, err)
	}
	if err := stamp.signed(data); err != nil {
		return nil, fmt.Errorf("parse time stamp: %w", err)
	}
	stamp.lists = readLists(data.CRLs.Bytes)
	return stamp, nil
}

// granted returns the token of a response.
func granted(der []byte) ([]byte, error) {
	var r response
	if len(der) > MaxResponse {
		return nil, fmt.Errorf("%d bytes: %w", len(der), ErrToken)
	}
	if err := unmarshal(der, &r, ""); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if r.Status.Status != statusGranted && r.Status.Status != statusGrantedMods {
		return nil, fmt.Errorf("status %d: %w", r.Status.Status, ErrRefused)
	}
	return r.Token.FullBytes, nil
}

func parseSignedData(token []byte) (*signedData, error) {
	var c contentInfo
	if err := unmarshal(token, &c, ""); err != nil {
		return nil, err
	}
	data := new(signedData)
	if err := unmarshal(c.Content.Bytes, data, ""); err != nil {
		return nil, err
	}
	switch {
	case !c.Type.Equal(oidSignedData) || !data.Content.Type.Equal(oidTSTInfo) || data.Version != 3:
		return nil, errors.New("not signed data over a time")
	case len(data.Signers) != 1:
		return nil, fmt.Errorf("%d signers", len(data.Signers))
	}
	return data, nil
}

// readInfo reads what was signed.
func readInfo(der []byte) (*Stamp, error) {
	var info tstInfo
	if err := unmarshal(der, &info, ""); err != nil {
		return nil, err
	}
	if info.Version != 1 || !info.Imprint.Algorithm.Algorithm.Equal(oidSHA256) || len(info.Imprint.Hash) != sha256.Size {
		return nil, errors.New("another version, or an imprint that is not SHA-256")
	}
	a := info.Accuracy
	if a.Seconds < 0 || a.Seconds > maxAccuracy || a.Millis < 0 || a.Millis > 999 || a.Micros < 0 || a.Micros > 999 {
		return nil, errors.New("accuracy out of range")
	}
	return &Stamp{
		Time: info.Time.UTC(), Imprint: [sha256.Size]byte(info.Imprint.Hash), Serial: info.Serial, Nonce: info.Nonce, Policy: info.Policy,
		Accuracy: time.Duration(a.Seconds)*time.Second + time.Duration(a.Millis)*time.Millisecond + time.Duration(a.Micros)*time.Microsecond,
	}, nil
}

// maxAccuracy in seconds: a stamp that may be off by more than a day says nothing.
const maxAccuracy = 24 * 60 * 60

// signed checks the signature.
func (s *Stamp) signed(data *signedData) error {
	info := &data.Signers[0]
	certificates, err := x509.ParseCertificates(data.Certificates.Bytes)
	if err != nil {
		return fmt.Errorf("certificates: %w: %w", ErrToken, err)
	}
	at := slices.IndexFunc(certificates, func(c *x509.Certificate) bool { return info.names(c) })
	if at < 0 {
		return fmt.Errorf("the signer's certificate is not inside: %w", ErrToken)
	}
	s.signer, s.others, s.Authority = certificates[at], slices.Delete(slices.Clone(certificates), at, at+1), certificates[at].Subject.String()
	attributes, err := info.attributes()
	if err != nil {
		return fmt.Errorf("signed attributes: %w: %w", ErrToken, err)
	}
	if err := checkAttributes(attributes, info, data.Content.Content, s.signer); err != nil {
		return err
	}
	algorithm, err := signatureAlgorithm(info)
	if err != nil {
		return err
	}
	if err := s.signer.CheckSignature(algorithm, info.signedBytes(), info.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrStampSignature, err)
	}
	return nil
}

// names reports whether the signer is the holder of a certificate.
func (i *signerInfo) names(c *x509.Certificate) bool {
	if i.ID.Class == asn1.ClassContextSpecific && i.ID.Tag == 0 {
		return len(c.SubjectKeyId) > 0 && bytes.Equal(i.ID.Bytes, c.SubjectKeyId)
	}
	var id issuerAndSerial
	err := unmarshal(i.ID.FullBytes, &id, "")
	return err == nil && id.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(id.Issuer.FullBytes, c.RawIssuer)
}

// signedBytes are the attributes as they were signed: RFC 5652 section 5.4, with the tag of a SET.
func (i *signerInfo) signedBytes() []byte {
	b := bytes.Clone(i.Attributes.FullBytes)
	if len(b) > 0 {
		b[0] = asn1.TagSet | 0x20
	}
	return b
}

// attributes returns the value of each signed attribute, by type. Each has one value and stands once.
func (i *signerInfo) attributes() (map[string]asn1.RawValue, error) {
	var list []attribute
	if err := unmarshal(i.signedBytes(), &list, "set"); err != nil {
		return nil, err
	}
	all := map[string]asn1.RawValue{}
	for _, a := range list {
		if _, twice := all[a.Type.String()]; twice || len(a.Values) != 1 {
			return nil, fmt.Errorf("%v stands twice, or has not one value", a.Type)
		}
		all[a.Type.String()] = a.Values[0]
	}
	return all, nil
}

func checkAttributes(attributes map[string]asn1.RawValue, info *signerInfo, content []byte, c *x509.Certificate) error {
	var contentType asn1.ObjectIdentifier
	var digest []byte
	err := errors.Join(
		unmarshal(attributes[oidContentType.String()].FullBytes, &contentType, ""),
		unmarshal(attributes[oidMessageDigest.String()].FullBytes, &digest, ""),
	)
	hash, unknown := hashOf(info.Digest)
	if err := errors.Join(err, unknown); err != nil {
		return fmt.Errorf("signed attributes: %w: %w", ErrToken, err)
	}
	sum := hash.New()
	sum.Write(content)
	switch {
	case !contentType.Equal(oidTSTInfo):
		return fmt.Errorf("content type %v: %w", contentType, ErrToken)
	case !bytes.Equal(digest, sum.Sum(nil)):
		return fmt.Errorf("message digest: %w", ErrStampSignature)
	case !namesCertificate(attributes, c):
		return fmt.Errorf("the signed certificate is another: %w", ErrStampSignature)
	}
	return nil
}

// namesCertificate reports whether the attribute that must name the signing certificate first (RFC 3161 section 2.4.2, RFC 5816) does.
func namesCertificate(attributes map[string]asn1.RawValue, c *x509.Certificate) bool {
	if value, found := attributes[oidSigningCertV2.String()]; found {
		var v2 signingCertV2
		if unmarshal(value.FullBytes, &v2, "") != nil || len(v2.Certs) == 0 {
			return false
		}
		hash := crypto.SHA256
		if v2.Certs[0].Algorithm.Algorithm != nil {
			var err error
			if hash, err = hashOf(v2.Certs[0].Algorithm); err != nil {
				return false
			}
		}
		sum := hash.New()
		sum.Write(c.Raw)
		return bytes.Equal(sum.Sum(nil), v2.Certs[0].Hash)
	}
	var v1 signingCert
	value, found := attributes[oidSigningCert.String()]
	if !found || unmarshal(value.FullBytes, &v1, "") != nil || len(v1.Certs) == 0 {
		return false
	}
	sum := sha1.Sum(c.Raw) //nolint:gosec // see the import
	return bytes.Equal(sum[:], v1.Certs[0].Hash)
}

// Of reports whether the stamp is of a message. The error is ErrImprint.
func (s *Stamp) Of(message []byte) error {
	if sha256.Sum256(message) != s.Imprint {
		return ErrImprint
	}
	return nil
}

// Verify holds a stamp to a message and to pinned roots, and its certificates to the lists of revoked ones that it carries and to others that
// the caller has. Where no list says anything the stamp counts, and the answer says so. Errors: ErrImprint, ErrAuthority, ErrRevoked.
func (s *Stamp) Verify(message []byte, roots []*x509.Certificate, lists ...*x509.RevocationList) (Revocation, error) {
	if err := s.Of(message); err != nil {
		return "", fmt.Errorf("verify time stamp: %w", err)
	}
	if err := s.mayStamp(); err != nil {
		return "", fmt.Errorf("verify time stamp: %w", err)
	}
	chains, err := s.chains(roots)
	if err != nil {
		return "", fmt.Errorf("verify time stamp: %w: %w", ErrAuthority, err)
	}
	answer, err := s.judge(chains, append(slices.Clone(s.lists), lists...))
	if err != nil {
		return "", fmt.Errorf("verify time stamp: %w", err)
	}
	return answer, nil
}

// chains are the ways from the signer's certificate to a root, each valid at the time of the stamp.
func (s *Stamp) chains(roots []*x509.Certificate) ([][]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: s.Time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}
	for _, r := range roots {
		options.Roots.AddCert(r)
	}
	for _, c := range s.others {
		options.Intermediates.AddCert(c)
	}
	return s.signer.Verify(options)
}

// mayStamp holds the certificate to RFC 3161 section 2.3: its only extended key usage is time stamping, and that is critical.
func (s *Stamp) mayStamp() error {
	only := len(s.signer.ExtKeyUsage) == 1 && s.signer.ExtKeyUsage[0] == x509.ExtKeyUsageTimeStamping && len(s.signer.UnknownExtKeyUsage) == 0
	for _, e := range s.signer.Extensions {
		if e.Id.Equal(oidExtKeyUsage) && e.Critical && only {
			return nil
		}
	}
	return fmt.Errorf("its certificate is not for time stamps alone: %w", ErrAuthority)
}

// NewRequest returns a DER TimeStampReq for a message. The nonce ties the answer to it; certificates are asked for.
func NewRequest(message []byte, nonce *big.Int) ([]byte, error) {
	sum := sha256.Sum256(message)
	r := request{Version: 1, Nonce: nonce, CertReq: true, Imprint: imprint{Hash: sum[:]}}
	r.Imprint.Algorithm.Algorithm, r.Imprint.Algorithm.Parameters = oidSHA256, asn1.NullRawValue
	der, err := asn1.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("make time-stamp request: %w", err)
	}
	return der, nil
}
