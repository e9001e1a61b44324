package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// How long certificates are valid. Clients of a local authority cannot follow a
// change of its key by themselves, so it outlives the installation.
const (
	Validity       = 10 * 365 * 24 * time.Hour
	ServerValidity = 90 * 24 * time.Hour
	ClientValidity = 365 * 24 * time.Hour
)

// backdate makes a certificate valid on machines whose clock is a little behind.
const backdate = 5 * time.Minute

// MaxName is the longest name of a client in bytes (ub-common-name, RFC 5280
// appendix A).
const MaxName = 64

// namePrefix begins the URI under which a client certificate names its holder,
// so that the certificate of another authority's web server cannot pass for one.
const namePrefix = "custody:client:"

const (
	certLabel = "CERTIFICATE"
	keyLabel  = "PRIVATE KEY"
)

var (
	// ErrCA says that ca.pem is damaged, is not an authority, or has expired.
	// It must be restored, or removed to begin anew with new clients.
	ErrCA = errors.New("not a usable certificate authority")
	// ErrName says that a client cannot have this name.
	ErrName = errors.New("not a valid client name")
	// ErrKeyExposed says that others may read ca.pem.
	ErrKeyExposed = keyfile.ErrExposed
)

// Options are the choices of Open. The zero value is usable.
type Options struct {
	Hosts []string         // names and IP addresses of the server besides localhost, 127.0.0.1 and ::1
	Now   func() time.Time // clock; time.Now if nil
}

// CA is a local certificate authority. It is safe for concurrent use.
type CA struct {
	cert  *x509.Certificate
	key   crypto.Signer
	hosts []string
	now   func() time.Time

	mu     sync.Mutex
	server *serverCert // issued at first use, renewed after two thirds of its life
}

// Open returns the authority in a folder, making folder and authority if they
// do not exist. The errors are ErrCA and ErrKeyExposed.
func Open(dir string, o Options) (*CA, error) {
	c := &CA{hosts: append([]string{"localhost", "127.0.0.1", "::1"}, o.Hosts...), now: o.Now}
	if c.now == nil {
		c.now = time.Now
	}
	data, err := keyfile.LoadOrCreate(filepath.Join(dir, "ca.pem"), c.create)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	if err := c.parse(data); err != nil {
		return nil, fmt.Errorf("open certificate authority in %s: %w", dir, err)
	}
	if err := c.publish(filepath.Join(dir, "ca.crt")); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return c, nil
}

// create makes a new authority and returns the content of ca.pem.
func (c *CA) create() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	template, err := c.template(pkix.Name{CommonName: "Custody local authority"}, Validity)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.MaxPathLenZero = true // no authorities below this one
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create authority certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return append(encodeCert(der), keyPEM...), nil
}

func (c *CA) template(subject pkix.Name, validity time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 section 4.1.2.2: ≤ 20 octets
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	now := c.now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: subject,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity),
		BasicConstraintsValid: true,
	}, nil
}

// parse reads ca.pem: the certificate, then its key, and nothing else.
func (c *CA) parse(data []byte) error {
	certBlock, rest := pem.Decode(data)
	keyBlock, rest := pem.Decode(rest)
	if certBlock == nil || certBlock.Type != certLabel || keyBlock == nil || keyBlock.Type != keyLabel || len(rest) != 0 {
		return fmt.Errorf("ca.pem is not one certificate and one key: %w", ErrCA)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return fmt.Errorf("certificate: %w: %w", ErrCA, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return fmt.Errorf("key is not PKCS#8: %w", ErrCA) // the cause could quote the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) || !cert.IsCA {
		return fmt.Errorf("key and certificate do not belong together: %w", ErrCA)
	}
	if c.now().After(cert.NotAfter) {
		return fmt.Errorf("expired on %s: %w", cert.NotAfter.Format(time.DateOnly), ErrCA)
	}
	c.cert, c.key = cert, key
	return nil
}

// publish writes the certificate for clients to read, unless it is there.
func (c *CA) publish(path string) error {
	const public fs.FileMode = 0o644
	if have, err := os.ReadFile(path); err == nil && string(have) == string(c.CertPEM()) {
		return nil
	}
	if err := keyfile.Replace(path, c.CertPEM()); err != nil {
		return err
	}
	return os.Chmod(path, public)
}

// CertPEM returns the authority's certificate, which clients must trust.
func (c *CA) CertPEM() []byte { return encodeCert(c.cert.Raw) }

// Fingerprint returns the fingerprint of the authority's certificate, for
// people to compare.
func (c *CA) Fingerprint() string { return Fingerprint(c.cert) }

// Fingerprint returns SHA-256 of the certificate's DER in lower-case
// hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Client is a certificate for a person. KeyPEM is secret: write it with mode
// 0600.
type Client struct {
	CertPEM     []byte
	KeyPEM      []byte // PKCS#8
	Fingerprint string // of the certificate, see Fingerprint
	NotAfter    time.Time
}

// String shows the fingerprint and no secret.
func (c Client) String() string { return "ca.Client(" + c.Fingerprint + ", key redacted)" }

// Format is String for every verb.
func (c Client) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// IssueClient makes a key and a certificate for it under a name of 1 to MaxName
// printable bytes. The same name may have several certificates. The error is
// ErrName.
func (c *CA) IssueClient(name string) (Client, error) {
	if err := checkName(name); err != nil {
		return Client{}, fmt.Errorf("issue client certificate: %w", err)
	}
	key, cert, err := c.issue(pkix.Name{CommonName: name}, ClientValidity, func(t *x509.Certificate) {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		t.URIs = []*url.URL{{Scheme: "custody", Opaque: "client:" + url.PathEscape(name)}}
	})
	if err != nil {
		return Client{}, fmt.Errorf("issue client certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Client{}, fmt.Errorf("issue client certificate: %w", err)
	}
	return Client{encodeCert(cert.Raw), keyPEM, Fingerprint(cert), cert.NotAfter}, nil
}

// ClientName returns the name in a certificate that IssueClient made, and that
// TLS has verified. The error is ErrName for any other certificate.
func ClientName(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].String() != namePrefix+url.PathEscape(cert.Subject.CommonName) {
		return "", fmt.Errorf("certificate of %q is not a client's: %w", cert.Subject.CommonName, ErrName)
	}
	return cert.Subject.CommonName, nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return fmt.Errorf("%q: %w", name, ErrName)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%q: %w", name, ErrName)
		}
	}
	return nil
}

// issue makes a key and a certificate for it. The certificate never outlives
// the authority.
func (c *CA) issue(subject pkix.Name, validity time.Duration, add func(*x509.Certificate)) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	template, err := c.template(subject, validity)
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.NotAfter.After(c.cert.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	add(template)
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, nil, fmt.Errorf("create certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read back certificate: %w", err)
	}
	return key, cert, nil
}

// addHosts puts each host into the certificate as what it is.
func addHosts(t *x509.Certificate, hosts []string) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certLabel, Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyLabel, Bytes: der}), nil
}
