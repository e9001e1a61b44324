package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/ca"
)

const (
	// dialPatience bounds the time to connect.
	dialPatience = 10 * time.Second
	// redialPatience bounds how long a connection that was lost waits before it tries again.
	redialPatience = 3 * time.Second
	// maxAnswer is the largest answer: a page of 32 events of 64 KiB, or a graph of 10,000 rows.
	maxAnswer = 64 << 20
)

// ErrNoServer says that nobody answers.
var ErrNoServer = errors.New("no server answers")

// DialConfig says whom to call, and as whom.
type DialConfig struct {
	DataDir string // holds the certificates, and the local socket
	Address string // host:port; empty is the local socket of DataDir
	As      string // person whose certificate in people/ is used; empty is admin
}

// Dial connects with mutual TLS, and returns when the server has answered. The error is ErrNoServer if none
// does, and fs.ErrNotExist if there is no such certificate.
func Dial(ctx context.Context, cfg DialConfig) (*grpc.ClientConn, error) {
	config, err := cfg.credentials()
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	d := &dialer{cfg: cfg}
	conn, err := grpc.NewClient("passthrough:///"+cfg.target(),
		grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithContextDialer(d.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial(), MinConnectTimeout: dialPatience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := d.await(ctx, conn); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), conn.Close())
	}
	return conn, nil
}

func redial() backoff.Config {
	c := backoff.DefaultConfig
	c.MaxDelay = redialPatience
	return c
}

// target is also the name that the server's certificate must have.
func (cfg DialConfig) target() string {
	if cfg.Address == "" {
		return "localhost"
	}
	return cfg.Address
}

// credentials reads the person's certificate and the authority's.
func (cfg DialConfig) credentials() (*tls.Config, error) {
	name := cfg.As
	setDefault(&name, adminName)
	if !fs.ValidPath(name) || name != event.Escape(name) {
		return nil, fmt.Errorf("person %q: not a name", name)
	}
	data := folder(cfg.DataDir)
	authority, err := readFirst(cfg.authorities()...)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	certificate, err := os.ReadFile(data.person(name, ".crt"))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := ca.ReadKey(data.person(name, ".key"))
	if err != nil {
		return nil, fmt.Errorf("read certificate's key: %w", err)
	}
	return ca.ClientTLS(authority, certificate, key)
}

// authorities are where the server's authority may stand: beside its own keys, or where it was written for a
// person who works elsewhere.
func (cfg DialConfig) authorities() []string {
	data := folder(cfg.DataDir)
	own, given := filepath.Join(data.authority(), "ca.crt"), data.person("ca", ".crt")
	if cfg.Address != "" {
		return []string{given, own}
	}
	return []string{own, given}
}

// readFirst reads the first file that exists.
func readFirst(paths ...string) (content []byte, err error) {
	for _, path := range paths {
		if content, err = os.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
			return content, err
		}
	}
	return nil, err
}

// dialer connects, and remembers why it could not.
type dialer struct {
	cfg DialConfig

	mu   sync.Mutex
	last error
}

func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	var conn net.Conn
	var err error
	if d.cfg.Address != "" {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
	} else {
		conn, err = withSocket(folder(d.cfg.DataDir).socket(), func(path string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
	return conn, err
}

// await returns when the connection is ready, or when it has failed once.
func (d *dialer) await(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return d.failure()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("%w within %s", ErrNoServer, dialPatience)
		}
	}
}

func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil {
		return fmt.Errorf("%w: %w", ErrNoServer, d.last)
	}
	return fmt.Errorf("%w: the TLS handshake failed; is the certificate of this server's authority?", ErrNoServer)
}
