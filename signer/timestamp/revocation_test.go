package timestamp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/agentcustody/custody/signer/timestamp"
)

// revokes is an entry about the test's authority. A reason below 0 is none said: RFC 5280 section 5.3.1.
func revokes(serial int64, at time.Time, reason int) pkix.RevokedCertificate {
	e := pkix.RevokedCertificate{SerialNumber: big.NewInt(serial), RevocationTime: at}
	if reason >= 0 {
		value, _ := asn1.Marshal(asn1.Enumerated(reason))
		e.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 21}, Value: value}}
	}
	return e
}

// list is signed by the authority's root, made at a time and good for a day.
func (a *authority) list(t testing.TB, at time.Time, edit func(*x509.RevocationList), entries ...pkix.RevokedCertificate) *x509.RevocationList {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: at, NextUpdate: at.AddDate(0, 0, 1)}
	template.RevokedCertificates = entries //nolint:staticcheck // its successor cannot say "unspecified"
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.above, a.root)
	if err != nil {
		t.Fatal(err)
	}
	list, err := timestamp.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What a list says about a stamp of noon, whether the stamp carries it or the caller has it.
func TestRevocation(t *testing.T) {
	const unsaid, unspecified, compromised, affiliation, superseded, ceased, onHold = -1, 0, 1, 3, 4, 5, 6
	a, other := newAuthority(t, nil), newAuthority(t, nil)
	before, after := day.Add(-time.Hour), day.Add(time.Hour)
	critical := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
	}
	strange := revokes(2, before, compromised)
	strange.Extensions = append(strange.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}})
	for what, test := range map[string]struct {
		list *x509.RevocationList
		want timestamp.Revocation
		err  error
	}{
		"nobody":                         {a.list(t, before, nil), timestamp.NotRevoked, nil},
		"somebody else":                  {a.list(t, before, nil, revokes(3, before, compromised)), timestamp.NotRevoked, nil},
		"nobody, later":                  {a.list(t, day.AddDate(0, 0, 9), nil), timestamp.NotRevoked, nil},
		"nobody, that second":            {a.list(t, day, nil), timestamp.NotRevoked, nil},
		"nobody, but before":             {a.list(t, day.AddDate(0, 0, -9), nil), timestamp.RevocationNotChecked, nil},
		"nobody, until then":             {a.list(t, day.AddDate(0, 0, -1), nil), timestamp.RevocationNotChecked, nil},
		"of another root":                {other.list(t, before, nil, revokes(2, before, compromised)), timestamp.RevocationNotChecked, nil},
		"a part of a list":               {a.list(t, before, critical, revokes(2, before, compromised)), timestamp.RevocationNotChecked, nil},
		"a strange entry":                {a.list(t, before, nil, strange), timestamp.RevocationNotChecked, nil},
		"before, ceased":                 {a.list(t, before, nil, revokes(2, before, ceased)), "", timestamp.ErrRevoked},
		"before, by a list from before":  {a.list(t, day.AddDate(0, 0, -9), nil, revokes(2, day.AddDate(0, 0, -10), ceased)), "", timestamp.ErrRevoked},
		"after, ceased":                  {a.list(t, after, nil, revokes(2, after, ceased)), timestamp.NotRevoked, nil},
		"after, superseded":              {a.list(t, after, nil, revokes(2, after, superseded)), timestamp.NotRevoked, nil},
		"after, affiliation":             {a.list(t, after, nil, revokes(2, after, affiliation)), timestamp.NotRevoked, nil},
		"after, unspecified":             {a.list(t, after, nil, revokes(2, after, unspecified)), timestamp.NotRevoked, nil},
		"after, and nothing said":        {a.list(t, after, nil, revokes(2, after, unsaid)), "", timestamp.ErrRevoked},
		"after, the key was compromised": {a.list(t, after, nil, revokes(2, after, compromised)), "", timestamp.ErrRevoked},
		"after, on hold":                 {a.list(t, after, nil, revokes(2, after, onHold)), "", timestamp.ErrRevoked},
		"within the stamp's accuracy":    {a.list(t, after, nil, revokes(2, day.Add(time.Second), ceased)), "", timestamp.ErrRevoked},
	} {
		for how, carried := range map[string]bool{"carried": true, "at hand": false} {
			var inside, beside []*x509.RevocationList
			if inside = append(inside, test.list); !carried {
				inside, beside = nil, inside
			}
			s, err := timestamp.Parse(a.stamp(t, "message", day, inside...))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got, err := s.Verify([]byte("message"), []*x509.Certificate{a.above}, beside...)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("%s, %s: %q %v, want %q %v", what, how, got, err, test.want, test.err)
			}
		}
	}
}

// Two lists: one may cover the time, the other revoke.
func TestTwoLists(t *testing.T) {
	a := newAuthority(t, nil)
	good, old := a.list(t, day, nil), a.list(t, day.AddDate(0, 0, -9), nil)
	bad := a.list(t, day.AddDate(0, 0, -9), nil, revokes(2, day.AddDate(0, 0, -10), 1))
	s, err := timestamp.Parse(a.stamp(t, "message", day, old))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Verify([]byte("message"), []*x509.Certificate{a.above}, good); err != nil || got != timestamp.NotRevoked {
		t.Errorf("an old list and a good one: %q %v", got, err)
	}
	if _, err := s.Verify([]byte("message"), []*x509.Certificate{a.above}, good, bad); !errors.Is(err, timestamp.ErrRevoked) {
		t.Errorf("a good list and one that revokes: %v", err)
	}
}

func TestParseRevocationList(t *testing.T) {
	a := newAuthority(t, nil)
	der := a.list(t, day, nil, revokes(2, day, 1)).Raw
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	if l, err := timestamp.ParseRevocationList(text); err != nil || !bytes.Equal(l.Raw, der) {
		t.Errorf("PEM: %v", err)
	}
	for what, b := range map[string][]byte{"empty": nil, "cut": der[:len(der)-1], "more": append(bytes.Clone(der), 0), "huge": make([]byte, timestamp.MaxRevocationList+1)} {
		if _, err := timestamp.ParseRevocationList(b); !errors.Is(err, timestamp.ErrRevocationList) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParseRevocationList(f *testing.F) {
	a := newAuthority(f, nil)
	f.Add(a.list(f, day, nil, revokes(2, day, 1)).Raw)
	f.Fuzz(func(_ *testing.T, b []byte) {
		if l, err := timestamp.ParseRevocationList(b); err == nil {
			_ = l.CheckSignatureFrom(a.above)
		}
	})
}
