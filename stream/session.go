package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// session is the connections, with the embedded server behind them if there is one. Reopening the stream
// replaces the whole session.
//
// There are two: what readers are sent, megabytes ahead of what they have used, would otherwise stand before
// the acknowledgement that somebody waits for.
type session struct {
	srv    *server.Server // nil for a cluster by URL
	conn   *nats.Conn     // for requests and what is published
	js     jetstream.JetStream
	events jetstream.Stream
	heads  jetstream.Stream
	lasts  *lasts // nil for a cluster: others publish there

	deliveries *nats.Conn       // for readers
	readers    jetstream.Stream // events, by deliveries

	incarnation string
}

func openSession(ctx context.Context, cfg *Config) (*session, error) {
	s, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.define(ctx, cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func connect(cfg *Config) (*session, error) {
	s := &session{}
	options := []nats.Option{nats.Name("custody"), nats.MaxReconnects(-1)}
	if cfg.Dir != "" {
		srv, err := startServer(cfg)
		if err != nil {
			return nil, err
		}
		s.srv, s.lasts = srv, newLasts()
		options = append(options, nats.InProcessServer(srv), nats.NoReconnect())
	} else {
		remote, err := remoteOptions(cfg)
		if err != nil {
			return nil, err
		}
		options = append(options, remote...)
	}
	return s, s.dial(cfg.URL, options)
}

func (s *session) dial(address string, options []nats.Option) (err error) {
	if s.conn, err = nats.Connect(address, options...); err == nil {
		s.deliveries, err = nats.Connect(address, options...)
	}
	if err == nil {
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(requestTimeout))
	}
	if err != nil {
		s.close()
		return fmt.Errorf("connect: %w", connectError(err))
	}
	return nil
}

// errURL does not repeat the URL: it may hold a password.
var errURL = errors.New("malformed URL, want nats://HOST:PORT or tls://HOST:PORT; in a password, % is written %25")

// connectError is what a first attempt to connect means: a server that is not there, a name that nobody knows, or a URL that is none.
func connectError(err error) error {
	var network *net.OpError
	if malformed, ok := errors.AsType[*url.Error](err); ok && malformed.Op == "parse" {
		return errURL
	}
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network) {
		return fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	return err
}

func remoteOptions(cfg *Config) ([]nats.Option, error) {
	var options []nats.Option
	if cfg.TLS != nil {
		options = append(options, nats.Secure(cfg.TLS))
	}
	if cfg.CredsFile != "" {
		options = append(options, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.NKeyFile != "" {
		nkey, err := nats.NkeyOptionFromSeed(cfg.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read nkey: %w", err)
		}
		options = append(options, nkey)
	}
	return options, nil
}

func (s *session) close() {
	for _, conn := range []*nats.Conn{s.conn, s.deliveries} {
		if conn != nil {
			conn.Close()
		}
	}
	if s.srv != nil {
		stopServer(s.srv)
	}
}

// define makes the stream and the bucket of heads if they do not exist, and holds an existing stream to
// what this package promises.
func (s *session) define(ctx context.Context, cfg *Config) (err error) {
	if s.events, err = s.stream(ctx, eventsConfig(cfg)); err != nil {
		return fmt.Errorf("define stream %s: %w", streamName, err)
	}
	if s.heads, err = s.stream(ctx, headsConfig(cfg)); err != nil {
		return fmt.Errorf("define bucket %s: %w", headBucket, err)
	}
	if s.readers, err = s.forReaders(ctx); err != nil {
		return fmt.Errorf("open stream %s for readers: %w", streamName, err)
	}
	s.incarnation = s.events.CachedInfo().Config.Metadata[incarnationKey]
	if s.incarnation == "" {
		return fmt.Errorf("define stream %s: no incarnation in its metadata: %w", streamName, ErrConfig)
	}
	return nil
}

// forReaders is the stream of events by the connection of readers.
func (s *session) forReaders(ctx context.Context) (jetstream.Stream, error) {
	js, err := jetstream.New(s.deliveries, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return nil, err
	}
	found, err := js.Stream(ctx, streamName)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return found, nil
}

// stream returns the named stream, created if it does not exist. Of several processes that create it at
// once, one wins and the others find it.
func (s *session) stream(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		found, err = s.js.CreateStream(ctx, want)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		found, err = s.js.Stream(ctx, want.Name)
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	return s.conform(ctx, found, &want)
}

// conform refuses settings that break a promise, and follows a changed limit.
func (s *session) conform(ctx context.Context, found jetstream.Stream, want *jetstream.StreamConfig) (jetstream.Stream, error) {
	have := found.CachedInfo().Config
	if differs := differences(&have, want); len(differs) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrConfig, strings.Join(differs, ", "))
	}
	if have.MaxBytes == want.MaxBytes && have.Replicas == want.Replicas {
		return found, nil
	}
	have.MaxBytes, have.Replicas = want.MaxBytes, want.Replicas
	updated, err := s.js.UpdateStream(ctx, have)
	if err != nil {
		return nil, fmt.Errorf("change limit: %w", classify(ctx, err))
	}
	return updated, nil
}

func differences(have, want *jetstream.StreamConfig) (differs []string) {
	check := func(name string, same bool) {
		if !same {
			differs = append(differs, name)
		}
	}
	check("subjects", strings.Join(have.Subjects, " ") == strings.Join(want.Subjects, " "))
	check("retention", have.Retention == want.Retention)
	check("discard", have.Discard == want.Discard)
	check("storage", have.Storage == want.Storage)
	check("max age", have.MaxAge == want.MaxAge)
	check("max messages", have.MaxMsgs == want.MaxMsgs)
	check("max messages per subject", have.MaxMsgsPerSubject == want.MaxMsgsPerSubject)
	check("deny delete", have.DenyDelete == want.DenyDelete)
	check("deny purge", have.DenyPurge == want.DenyPurge)
	check("allow rollup", have.AllowRollup == want.AllowRollup)
	check("allow direct", have.AllowDirect == want.AllowDirect)
	return differs
}

// eventsConfig is the stream of everything. Without direct reads every answer comes from the leader, so
// that the last message of a subject is really the last.
func eventsConfig(cfg *Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName, Subjects: []string{eventsPrefix + ">", SystemFilter, latePrefix + "*", TickSubject},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxBytes: cfg.MaxBytes, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: MaxMessage,
		Duplicates: DuplicateWindow, Replicas: cfg.Replicas, DenyDelete: true, DenyPurge: true,
		Metadata: map[string]string{incarnationKey: newIncarnation()},
	}
}

// headsConfig is what a key-value bucket is made of, except that direct, possibly stale reads are off.
func headsConfig(cfg *Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + headBucket, Subjects: []string{headPrefix + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxBytes: maxHeads, MaxMsgs: -1, MaxMsgsPerSubject: 1, MaxMsgSize: -1,
		Duplicates: DuplicateWindow, Replicas: cfg.Replicas, DenyDelete: true, AllowRollup: true,
	}
}

// newIncarnation draws 16 random bytes, in hexadecimal.
func newIncarnation() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
