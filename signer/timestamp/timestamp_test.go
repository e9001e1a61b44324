package timestamp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/signer/timestamp"
)

// The files of testdata were made with OpenSSL 3.0 (openssl ts): an RSA and an ECDSA P-384 authority under one root. Those of RSA-PSS, under
// another root, are the same time signed again (openssl cms -cades).
func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func root(t testing.TB) *x509.Certificate { return certificate(t, "root.pem") }

func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(file(t, name))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestForeignStamps(t *testing.T) {
	for name, authority := range map[string]string{"rsa.tsr": "CN=Authority rsa,O=Test", "ec.tsr": "CN=Authority ec,O=Test"} {
		s, err := timestamp.Parse(file(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Verify(file(t, "message"), []*x509.Certificate{root(t)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.Authority != authority || !s.Qualified() || s.Nonce == nil || s.Accuracy != 1500100*time.Microsecond || s.Time.Year() != 2026 {
			t.Errorf("%s: read as %+v", name, s)
		}
		if s.Latest().Sub(s.Earliest()) != 2*s.Accuracy {
			t.Errorf("%s: from %s to %s", name, s.Earliest(), s.Latest())
		}
		if _, err := s.Verify([]byte("another checkpoint"), []*x509.Certificate{root(t)}); !errors.Is(err, timestamp.ErrImprint) {
			t.Errorf("%s: of another message: %v", name, err)
		}
		if _, err := s.Verify(file(t, "message"), nil); !errors.Is(err, timestamp.ErrAuthority) {
			t.Errorf("%s: without roots: %v", name, err)
		}
	}
}

func TestForeignPSS(t *testing.T) {
	for _, name := range []string{"pss.tsr", "pss-sha512.tsr"} {
		s, err := timestamp.Parse(file(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Verify(file(t, "message"), []*x509.Certificate{certificate(t, "pss-root.pem")}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.Authority != "CN=Authority pss,O=Test" {
			t.Errorf("%s: read as %+v", name, s)
		}
	}
}

func TestRefusals(t *testing.T) {
	good := file(t, "ec.tsr")
	for what, test := range map[string]struct {
		der  []byte
		want error
	}{
		"empty":                {nil, timestamp.ErrToken},
		"refused":              {file(t, "refused.tsr"), timestamp.ErrRefused},
		"imprint of SHA-512":   {file(t, "sha512imprint.tsr"), timestamp.ErrToken},
		"trailing byte":        {append(bytes.Clone(good), 0), timestamp.ErrToken},
		"cut":                  {good[:len(good)-1], timestamp.ErrToken},
		"huge":                 {make([]byte, timestamp.MaxResponse+1), timestamp.ErrToken},
		"PSS, other salt":      {file(t, "pss-salt.tsr"), timestamp.ErrToken},
		"PSS, other mask":      {file(t, "pss-mask.tsr"), timestamp.ErrToken},
		"last byte of all":     {flip(good, len(good)-1), timestamp.ErrStampSignature},
		"signer's certificate": {bytes.ReplaceAll(good, []byte("Authority ec"), []byte("Authority ed")), timestamp.ErrStampSignature},
	} {
		if s, err := timestamp.Parse(test.der); !errors.Is(err, test.want) {
			t.Errorf("%s: %+v %v", what, s, err)
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// Whatever byte is changed, the stamp is refused or says the same.
func TestEveryByte(t *testing.T) {
	message, roots := file(t, "message"), []*x509.Certificate{root(t)}
	for _, name := range []string{"rsa.tsr", "ec.tsr"} {
		good := file(t, name)
		want, err := timestamp.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			s, err := timestamp.Parse(flip(good, i))
			if err != nil {
				continue
			}
			if _, err := s.Verify(message, roots); err != nil {
				continue
			}
			if !s.Time.Equal(want.Time) || s.Authority != want.Authority || s.Serial.Cmp(want.Serial) != 0 || s.Accuracy != want.Accuracy {
				t.Errorf("%s: with byte %d changed it says %+v", name, i, s)
			}
		}
	}
}

// authority is a root and a certificate that a test may spoil.
type authority struct {
	key        *ecdsa.PrivateKey
	own, above *x509.Certificate
	root       *ecdsa.PrivateKey
}

var day = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func newAuthority(t testing.TB, spoil func(own *x509.Certificate)) *authority {
	t.Helper()
	make := func(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	keys := [2]*ecdsa.PrivateKey{}
	for i := range keys {
		keys[i], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	above := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: day.AddDate(-1, 0, 0), NotAfter: day.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte("root"),
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "clock"}, NotBefore: day.AddDate(0, -1, 0), NotAfter: day.AddDate(0, 1, 0),
		ExtraExtensions: []pkix.Extension{usage(true, 8)},
	}
	if spoil != nil {
		spoil(own)
	}
	a := &authority{key: keys[1], root: keys[0], above: make(above, above, keys[0], keys[0])}
	a.own = make(own, a.above, keys[1], keys[0])
	return a
}

// usage is an extended key usage extension: RFC 5280 section 4.2.1.12; 8 is time stamping, 1 is a server's.
func usage(critical bool, purposes ...int) pkix.Extension {
	var list []asn1.ObjectIdentifier
	for _, p := range purposes {
		list = append(list, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, p})
	}
	value, _ := asn1.Marshal(list)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value}
}

func (a *authority) stamp(t testing.TB, message string, at time.Time, lists ...*x509.RevocationList) []byte {
	t.Helper()
	query, err := timestamp.NewRequest([]byte(message), big.NewInt(77))
	if err != nil {
		t.Fatal(err)
	}
	der, err := timestamp.Make(query, timestamp.Maker{
		Key: a.key, Certificates: []*x509.Certificate{a.own, a.above}, Serial: big.NewInt(5), Time: at, RevocationLists: lists,
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestOwnStamps(t *testing.T) {
	a := newAuthority(t, nil)
	s, err := timestamp.Parse(a.stamp(t, "message", day.Add(123456789*time.Nanosecond)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify([]byte("message"), []*x509.Certificate{a.above}); err != nil {
		t.Error(err)
	}
	if s.Qualified() || s.Nonce.Int64() != 77 || !s.Time.Equal(day) || s.Accuracy != time.Second {
		t.Errorf("read as %+v", s)
	}
}

// Stamps that are well made by somebody who may not make them.
func TestAuthorities(t *testing.T) {
	for what, test := range map[string]struct {
		spoil func(own *x509.Certificate)
		at    time.Time
	}{
		"before its certificate":    {nil, day.AddDate(0, -2, 0)},
		"after its certificate":     {nil, day.AddDate(0, 2, 0)},
		"no usage":                  {func(c *x509.Certificate) { c.ExtraExtensions = nil }, day},
		"usage is not critical":     {func(c *x509.Certificate) { c.ExtraExtensions[0] = usage(false, 8) }, day},
		"usage of a server":         {func(c *x509.Certificate) { c.ExtraExtensions[0] = usage(true, 1) }, day},
		"usage of a server besides": {func(c *x509.Certificate) { c.ExtraExtensions[0] = usage(true, 8, 1) }, day},
		"usage nobody knows":        {func(c *x509.Certificate) { c.ExtraExtensions[0] = usage(true, 8, 99) }, day},
	} {
		a := newAuthority(t, test.spoil)
		s, err := timestamp.Parse(a.stamp(t, "message", test.at))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := s.Verify([]byte("message"), []*x509.Certificate{a.above}); !errors.Is(err, timestamp.ErrAuthority) {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, other := newAuthority(t, nil), newAuthority(t, nil)
	s, err := timestamp.Parse(a.stamp(t, "message", day))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify([]byte("message"), []*x509.Certificate{other.above}); !errors.Is(err, timestamp.ErrAuthority) {
		t.Errorf("foreign root: %v", err)
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, query := range []string{"", "nonsense", strings.Repeat("\x30", 100)} {
		if _, err := timestamp.Make([]byte(query), timestamp.Maker{}); !errors.Is(err, timestamp.ErrToken) {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"rsa.tsr", "ec.tsr", "refused.tsr", "sha512imprint.tsr", "pss.tsr"} {
		f.Add(file(f, name))
	}
	roots := []*x509.Certificate{root(f)}
	f.Fuzz(func(t *testing.T, der []byte) {
		if s, err := timestamp.Parse(der); err == nil {
			_, _ = s.Verify([]byte("message"), roots)
		}
	})
}
