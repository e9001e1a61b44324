package limit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	"github.com/agentcustody/custody/signer/vault"
)

// BatchEvents is how many events a message of the limit holds.
const BatchEvents = 256

// messages is how many different messages are published in turn.
const messages = 16

// JetStream is how many events a second an embedded server with SyncAlways takes, from one producer with one publish in
// flight, in messages of BatchEvents events as ingest makes them. The server's files are left in dir.
func JetStream(ctx context.Context, dir string, d time.Duration) (perSecond, messageBytes float64, err error) {
	all, err := streamMessages(filepath.Join(dir, "vault"), messages, BatchEvents)
	if err != nil {
		return 0, 0, fmt.Errorf("measure JetStream: %w", err)
	}
	srv, err := startServer(filepath.Join(dir, "stream"))
	if err != nil {
		return 0, 0, fmt.Errorf("measure JetStream: %w", err)
	}
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if perSecond, err = publish(ctx, srv, all, d); err != nil {
		return 0, 0, fmt.Errorf("measure JetStream: %w", err)
	}
	return perSecond, float64(len(all[0])), nil
}

// streamMessages makes n stream messages of an agent's events.
func streamMessages(vaultDir string, n, events int) (all [][]byte, err error) {
	v, err := vault.OpenDir(vaultDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	log, err := workload.NewLog("limit", n, v)
	if err != nil {
		return nil, err
	}
	for i := range n + 1 {
		m, err := log.Next(events)
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first opens the log
			all = append(all, m.Data)
		}
	}
	return all, nil
}

func startServer(dir string) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, SyncAlways: true,
		MaxPayload: event.MaxStreamBatch, JetStreamMaxStore: 1 << 50,
	})
	if err != nil {
		return nil, err
	}
	go srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server does not start")
	}
	return srv, nil
}

// publish sends the messages in turn, each after the acknowledgement of the one before.
func publish(ctx context.Context, srv *server.Server, all [][]byte, d time.Duration) (perSecond float64, err error) {
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "LIMIT", Subjects: []string{"limit"}, Storage: jetstream.FileStorage})
	if err != nil {
		return 0, err
	}
	began, count := time.Now(), 0
	for ; time.Since(began) < d; count++ {
		if _, err := js.Publish(ctx, "limit", all[count%len(all)]); err != nil {
			return 0, err
		}
	}
	return float64(count*BatchEvents) / time.Since(began).Seconds(), nil
}
