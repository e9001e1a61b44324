package tsa

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"path/filepath"
	"time"

	"github.com/agentcustody/custody/signer/internal/keyfile"
	"github.com/agentcustody/custody/signer/timestamp"
)

// lifetime of the certificates: stamps are to be verified long after. There is no list of revoked ones; who doubts the key takes the
// root out of the policy.
const lifetime = 20 * 365 * 24 * time.Hour

// Names of the certificates. Whoever reads a verdict reads them.
const (
	rootName  = "Custody time stamps (not qualified) root"
	stampName = "Custody time stamps (not qualified)"
)

// file keeps an authority: certificate and key of the stamps, and the root's certificate. The root's key is not kept: there is
// nothing more to sign.
const file = "timestamp.pem"

// Authority makes time stamps. Its methods may be called from any goroutine.
type Authority struct {
	key  *ecdsa.PrivateKey
	own  *x509.Certificate
	root *x509.Certificate
	now  func() time.Time
}

// Open reads the authority of a folder, or makes one. now is time.Now if nil.
func Open(dir string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	path := filepath.Join(dir, file)
	text, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = generate(now()); err == nil {
			err = keyfile.Create(path, text)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open time-stamp authority: %w", err)
	}
	a, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("open time-stamp authority: %s: %w", path, err)
	}
	a.now = now
	return a, nil
}

// generate makes the two certificates and the key.
func generate(now time.Time) ([]byte, error) {
	rootKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	root := template(rootName, now)
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	own := template(stampName, now)
	own.KeyUsage = x509.KeyUsageDigitalSignature
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}) // id-kp-timeStamping, RFC 5280 section 4.2.1.12
	if err != nil {
		return nil, err
	}
	own.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
	ownDER, err1 := x509.CreateCertificate(rand.Reader, own, root, key.Public(), rootKey)
	keyDER, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ownDER})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})...)
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}

func template(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{ // without a serial number, CreateCertificate draws one
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
	}
}

var errFile = errors.New("not a certificate, its root and its key")

func parse(text []byte) (*Authority, error) {
	blocks := make([]*pem.Block, 3)
	for i := range blocks {
		if blocks[i], text = pem.Decode(text); blocks[i] == nil {
			return nil, errFile
		}
	}
	own, err1 := x509.ParseCertificate(blocks[0].Bytes)
	root, err2 := x509.ParseCertificate(blocks[1].Bytes)
	key, err3 := x509.ParsePKCS8PrivateKey(blocks[2].Bytes)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("%w: %w", errFile, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(own.PublicKey) {
		return nil, errFile
	}
	return &Authority{key: private, own: own, root: root}, nil
}

// Root is what a policy pins.
func (a *Authority) Root() *x509.Certificate { return a.root }

// Stamp is Client.Stamp without a network.
func (a *Authority) Stamp(_ context.Context, message []byte) ([]byte, error) {
	query, err := timestamp.NewRequest(message, nil)
	if err != nil {
		return nil, err
	}
	return a.Answer(query)
}

// Answer makes the response to a DER TimeStampReq.
func (a *Authority) Answer(query []byte) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), nonceBits))
	if err != nil {
		return nil, fmt.Errorf("stamp: %w", err)
	}
	der, err := timestamp.Make(query, timestamp.Maker{Key: a.key, Certificates: []*x509.Certificate{a.own, a.root}, Serial: serial, Time: a.now()})
	if err != nil {
		return nil, fmt.Errorf("stamp: %w", err)
	}
	return der, nil
}

// ServeHTTP answers RFC 3161 requests.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(http.MaxBytesReader(w, r.Body, timestamp.MaxResponse))
	if err != nil || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	der, err := a.Answer(query)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", typeReply)
	_, _ = w.Write(der) // a caller that is gone asks again
}
