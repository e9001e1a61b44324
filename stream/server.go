package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// startTimeout is how long the embedded server may take to recover its files.
const startTimeout = 5 * time.Minute

// maxStore is no limit: each stream has its own, and the server would refuse to recover a stream whose limit
// was larger before.
const maxStore = 1 << 60

// startServer runs a NATS server in this process. It listens on no socket.
func startServer(cfg *Config) (*server.Server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder: %w", err)
	}
	srv, err := server.NewServer(serverOptions(cfg))
	if err != nil {
		return nil, fmt.Errorf("configure server: %w", err)
	}
	srv.SetLogger(serverLog{cfg.Log}, false, false)
	go srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		stopServer(srv)
		return nil, fmt.Errorf("start server: %w: not ready after %s", ErrUnavailable, startTimeout)
	}
	return srv, nil
}

func serverOptions(cfg *Config) *server.Options {
	return &server.Options{
		ServerName:             "custody",
		DontListen:             true,
		NoSigs:                 true,
		MaxPayload:             MaxMessage,
		JetStream:              true,
		StoreDir:               cfg.Dir,
		JetStreamMaxStore:      maxStore,
		SyncAlways:             !cfg.NoSync,
		DisableJetStreamBanner: true,
	}
}

func stopServer(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// lockFolder keeps a second process out of dir until the file is closed; the system also frees it when the
// process dies.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "stream.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// serverLog passes the server's warnings and errors on; the rest is of no use to a person.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(string, ...any) {}
func (l serverLog) Debugf(string, ...any)  {}
func (l serverLog) Tracef(string, ...any)  {}

func (l serverLog) Warnf(format string, v ...any) {
	l.log.Warn("embedded stream server", slog.String("text", fmt.Sprintf(format, v...)))
}

func (l serverLog) Errorf(format string, v ...any) {
	l.log.Error("embedded stream server", slog.String("text", fmt.Sprintf(format, v...)))
}

func (l serverLog) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
