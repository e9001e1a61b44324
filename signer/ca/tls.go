package ca

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// serverCert is a server's certificate and the time to replace it.
type serverCert struct {
	tls   *tls.Certificate
	renew time.Time
}

// ServerTLS returns the configuration of a server that shows a certificate for
// the authority's hosts, always a fresh one, and accepts client certificates of
// this authority as clientAuth says (tls.VerifyClientCertIfGiven admits clients
// without one, too).
func (c *CA) ServerTLS(clientAuth tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: clientAuth,
		ClientCAs:  c.pool(),
		Time:       c.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.serverCertificate()
		},
	}
}

func (c *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// serverCertificate returns the current server certificate, renewed after two
// thirds of its life.
func (c *CA) serverCertificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil && c.now().Before(c.server.renew) {
		return c.server.tls, nil
	}
	next, err := c.issueServer()
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	c.server = next
	return next.tls, nil
}

func (c *CA) issueServer() (*serverCert, error) {
	key, cert, err := c.issue(pkix.Name{CommonName: "Custody server"}, ServerValidity, func(t *x509.Certificate) {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		addHosts(t, c.hosts)
	})
	if err != nil {
		return nil, err
	}
	return &serverCert{
		tls:   &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
		renew: c.now().Add(cert.NotAfter.Sub(c.now()) * 2 / 3),
	}, nil
}

// ClientTLS returns the configuration of a client that trusts only this
// authority and shows no certificate.
func (c *CA) ClientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.pool(), Time: c.now}
}

// ClientTLS returns the configuration of a client that trusts only the
// authority in caPEM. certPEM and keyPEM are the client's own certificate, or
// both empty.
func ClientTLS(caPEM, certPEM, keyPEM []byte) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		return nil, fmt.Errorf("configure TLS client: no certificate in the authority's PEM: %w", ErrCA)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	if len(certPEM) == 0 && len(keyPEM) == 0 {
		return config, nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("configure TLS client: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// ReadKey reads the key of a client certificate from a file. The error is ErrKeyExposed if others than its owner may read it.
func ReadKey(path string) ([]byte, error) { return keyfile.Read(path) }
