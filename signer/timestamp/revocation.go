package timestamp

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// MaxRevocationList is the size in bytes of a list that is read: who issues certificates for time stamps issues few, and a list is
// looked through for each stamp.
const MaxRevocationList = 1 << 20

var (
	// ErrRevocationList says that bytes are no list of revoked certificates.
	ErrRevocationList = errors.New("malformed list of revoked certificates")
	// ErrRevoked says that a certificate that a stamp rests on is revoked, so that the stamp no longer counts.
	ErrRevoked = errors.New("time stamp's certificate is revoked")
)

// Revocation is what lists of revoked certificates say about a stamp that they do not make void.
type Revocation string

// The answers.
const (
	RevocationNotChecked Revocation = "not-checked" // for some certificate below the root no list is there that counts
	NotRevoked           Revocation = "not-revoked"
)

// reasonCode says in an entry why a certificate is revoked: RFC 5280 section 5.3.1.
var reasonCode = asn1.ObjectIdentifier{2, 5, 29, 21}

// ParseRevocationList reads an X.509 certificate revocation list, DER or PEM. The error is ErrRevocationList.
func ParseRevocationList(b []byte) (*x509.RevocationList, error) {
	if len(b) > MaxRevocationList {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrRevocationList)
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	list, err := x509.ParseRevocationList(b)
	if err == nil && len(list.Raw) != len(b) {
		err = errTrailing
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRevocationList, err)
	}
	return list, nil
}

// readLists are the lists in a token (RFC 5652 section 10.2.1). Its signer has not signed them, so one that cannot be read takes nothing
// from the stamp: it is as if it were not there.
func readLists(rest []byte) (lists []*x509.RevocationList) {
	for len(rest) > 0 {
		var one asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &one); err != nil {
			return lists
		}
		if one.Class != asn1.ClassUniversal || one.Tag != asn1.TagSequence {
			continue // another form of revocation information
		}
		if list, err := x509.ParseRevocationList(one.FullBytes); err == nil {
			lists = append(lists, list)
		}
	}
	return lists
}

// judge drops the chains with a revoked certificate. If none is left the error is ErrRevoked.
func (s *Stamp) judge(chains [][]*x509.Certificate, lists []*x509.RevocationList) (Revocation, error) {
	answer, left := RevocationNotChecked, 0
	for _, chain := range chains {
		checked, revoked := s.judgeChain(chain, lists)
		if revoked {
			continue
		}
		if left++; checked {
			answer = NotRevoked
		}
	}
	if left == 0 {
		return RevocationNotChecked, ErrRevoked
	}
	return answer, nil
}

// judgeChain asks of each certificate but the root whether lists of its issuer cover it, and whether one revokes it.
func (s *Stamp) judgeChain(chain []*x509.Certificate, lists []*x509.RevocationList) (checked, revoked bool) {
	checked = len(chain) > 1 // a root is pinned, and no list is about it
	for i, c := range chain[:len(chain)-1] {
		covered := false
		for _, list := range lists {
			if !counts(list, chain[i+1]) {
				continue
			}
			revoked = revoked || s.voidedBy(list, c)
			covered = covered || s.covers(list)
		}
		checked = checked && covered
	}
	return checked, revoked
}

// counts reports whether a list is the issuer's own and asks for nothing that is not understood here, such as parts and differences of lists.
func counts(list *x509.RevocationList, issuer *x509.Certificate) bool {
	return bytes.Equal(list.RawIssuer, issuer.RawSubject) && !slices.ContainsFunc(list.Extensions, critical) &&
		!slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return slices.ContainsFunc(e.Extensions, critical) }) &&
		list.CheckSignatureFrom(issuer) == nil
}

func critical(e pkix.Extension) bool { return e.Critical }

// covers reports whether a list still held at the time of the stamp, or was made after it.
func (s *Stamp) covers(list *x509.RevocationList) bool {
	return list.NextUpdate.After(s.Time) || !list.ThisUpdate.Before(s.Time)
}

// voidedBy reports whether a list makes the stamps of a certificate void, or of the certificates below it. A stamp from before outlives the
// revocation only if the list says why, and that the key was not the reason: RFC 3161 section 4.
func (s *Stamp) voidedBy(list *x509.RevocationList, c *x509.Certificate) bool {
	for i := range list.RevokedCertificateEntries {
		e := &list.RevokedCertificateEntries[i]
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 && !(harmless(e) && s.Latest().Before(e.RevocationTime)) {
			return true
		}
	}
	return false
}

// harmless reports whether an entry says why, and says unspecified, affiliation changed, superseded or cessation of operation.
func harmless(e *x509.RevocationListEntry) bool {
	said := slices.ContainsFunc(e.Extensions, func(x pkix.Extension) bool { return x.Id.Equal(reasonCode) })
	return said && (e.ReasonCode == 0 || e.ReasonCode >= 3 && e.ReasonCode <= 5)
}
