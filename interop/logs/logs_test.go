//go:build interop

package logs_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	theirs_http "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/persistence/inmemory"
	theirs "github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/witness"
)

// system is a node with one tenant, whose logs are served over HTTPS.
type system struct {
	*testenv.Env
	t      *testing.T
	origin string
}

func newSystem(t *testing.T, options ...testenv.Option) *system {
	env := testenv.New(t, append(options, func(c *node.Config) { c.LogListen = "127.0.0.1:0" })...)
	s := &system{env, t, env.CreateTenant("acme")}
	env.CreateInstance("acme", "support-1")
	env.Person("acme", "dana", eventv1.Role_ROLE_AUDITOR)
	return s
}

// events records events of an agent, and returns when a checkpoint covers them.
func (s *system) events(n int) {
	s.t.Helper()
	emitter, err := edge.Open(s.t.Context(), edge.Config{Dir: s.Enrol("acme", "support-1").Dir})
	if err != nil {
		s.t.Fatal(err)
	}
	for range n {
		e := &edge.Event{Plain: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_RESOURCE_READ, Source: "warehouse", Resource: "report",
		}}}}
		if _, err := emitter.Record(s.t.Context(), e); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := errors.Join(emitter.Flush(s.t.Context()), emitter.Close(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	s.WaitCommitted()
	s.signed()
}

// signed waits for a checkpoint over what is committed now.
func (s *system) signed() {
	s.t.Helper()
	want, _ := s.Node().Ledger().Head("acme")
	for range 300 {
		if c, err := s.Node().Ledger().LatestCheckpoint(s.t.Context(), "acme"); err == nil && c.Size >= want.Size {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatal("no checkpoint")
}

// logKey is the log's verifier key, as its policy has it.
func (s *system) logKey() string {
	registry, err := s.Node().Ledger().Registry(s.t.Context(), "acme")
	if err != nil {
		s.t.Fatal(err)
	}
	return signer.VKey(s.origin, signer.PublicKey(registry.Genesis().GetLogKey()))
}

// fetcher is Tessera's, unchanged, with an auditor's certificate.
func (s *system) fetcher() *client.HTTPFetcher {
	s.t.Helper()
	c, err := node.DialConfig{DataDir: s.DataDir(), As: "dana"}.HTTPClient()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.CloseIdleConnections)
	root, err := url.Parse("https://" + s.Node().LogAddress() + "/log/acme/")
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(root, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s *system) verifier() note.Verifier {
	v, err := f_note.NewVerifier(s.logKey())
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// leafHashes is what Tessera's fsck does with a bundle of entries by default.
func leafHashes(bundle []byte) ([][]byte, error) {
	b := api.EntryBundle{}
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, e := range b.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}

// Tessera's fsck reads every bundle and tile of a log, with full tiles and partial ones, and finds the signed root.
func TestTesseraFsck(t *testing.T) {
	s := newSystem(t)
	s.events(700)
	if err := fsck.New(s.origin, s.verifier(), s.fetcher(), leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Tessera's client follows the log from one checkpoint to the next, and proves that leaves are in it.
func TestTesseraClient(t *testing.T) {
	s := newSystem(t)
	s.events(300)
	f := s.fetcher()
	consensus := client.UnilateralConsensus(f.ReadCheckpoint)
	tracker, err := client.NewLogStateTracker(t.Context(), f.ReadTile, nil, s.verifier(), s.origin, consensus)
	if err != nil {
		t.Fatal(err)
	}
	before := tracker.Latest().Size
	s.events(300)
	if _, _, _, err := tracker.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := tracker.Latest()
	if now.Size <= before+299 {
		t.Fatalf("from %d to %d leaves", before, now.Size)
	}
	builder, err := client.NewProofBuilder(t.Context(), now.Size, f.ReadTile)
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{0, 255, 256, before, now.Size - 1} {
		path, err := builder.InclusionProof(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := client.GetEntryBundle(t.Context(), f.ReadEntryBundle, index/256, now.Size)
		if err != nil {
			t.Fatal(err)
		}
		hash := rfc6962.DefaultHasher.HashLeaf(bundle.Entries[index%256])
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, now.Size, hash, path, now.Hash); err != nil {
			t.Errorf("leaf %d: %v", index, err)
		}
	}
}

// foreignWitness is the witness of transparency-dev behind its own HTTP handler, and its line of a policy.
func foreignWitness(t *testing.T, name string, log func(origin string) (note.Verifier, bool)) string {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := f_note.NewSignerForCosignatureV1(secret)
	if err != nil {
		t.Fatal(err)
	}
	w, err := theirs.New(t.Context(), theirs.Opts{
		Persistence: inmemory.New(), Signers: []note.Signer{cosigner},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			v, found := log(origin)
			return v, found, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", theirs.NewHTTPHandler(w).AddCheckpoint)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	_, key, err := signer.ParseVKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("witness theirs %s %s", signer.CosignatureVKey(name, key), server.URL)
}

// A witness that is not ours cosigns our log as it grows.
func TestForeignWitness(t *testing.T) {
	var s *system
	line := foreignWitness(t, "witness.example/theirs", func(origin string) (note.Verifier, bool) {
		if s == nil || origin != s.origin {
			return nil, false
		}
		return s.verifier(), true
	})
	quorum, err := signer.ParseQuorum([]byte(line + "\nquorum theirs\n"))
	if err != nil {
		t.Fatal(err)
	}
	s = newSystem(t, func(c *node.Config) { c.Confirm = &node.Confirmers{Witnesses: quorum.Lines(true)} })
	for range 3 {
		s.events(100)
		c, err := s.Node().Ledger().ConfirmCheckpoint(t.Context(), event.TenantID("acme"))
		if err != nil || c.Witnesses != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		_, key, err := signer.ParseVKey(s.logKey())
		if err != nil {
			t.Fatal(err)
		}
		opened, err := signer.OpenCheckpoint(c.Note, s.origin, key, quorum.Cosigners()...)
		if err != nil || len(opened.Cosignatures) != 1 {
			t.Errorf("%+v, %v", opened, err)
		}
	}
}

// growing is a log of numbered leaves under a key of its own.
type growing struct {
	key    *signer.Key
	origin string
	hashes []chain.Hash
}

func (g *growing) ReadLeafHashes(_ context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	return g.hashes[begin:end], nil
}

func (g *growing) note(t *testing.T, size int) []byte {
	s, err := signer.NoteSigner(g.key, g.origin)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.SignCheckpoint(chain.Checkpoint{Origin: g.origin, Size: chain.Index(size), Root: chain.EventRoot(g.hashes[:size])}, s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (g *growing) proof(t *testing.T, older, newer int) (path [][]byte) {
	hashes, err := chain.ProveConsistency(t.Context(), chain.LeafNodes{Leaves: g}, chain.Index(older), chain.Index(newer))
	if err != nil {
		t.Fatal(err)
	}
	for i := range hashes {
		path = append(path, hashes[i][:])
	}
	return path
}

// A client that is not ours gets what it expects of our witness: cosignatures that its own library verifies, and refusals.
func TestOurWitnessForForeignClient(t *testing.T) {
	g := &growing{key: signer.FromSeed([32]byte{1}), origin: "log.example/other"}
	for i := range 50 {
		g.hashes = append(g.hashes, chain.LeafHash(fmt.Appendf(nil, "%d", i)))
	}
	w, err := witness.Open(witness.Config{
		Dir: t.TempDir(), Name: "witness.example/ours", Logs: []signer.KnownLog{{Origin: g.origin, Key: g.key.Public()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := theirs_http.NewWitness(address, server.Client())
	name, key, err := signer.ParseCosignatureVKey(w.VKey())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := f_note.NewVerifierForCosignatureV1(signer.VKey(name, key))
	if err != nil {
		t.Fatal(err)
	}
	for older, newer := range map[int]int{0: 10} {
		lines, _, err := c.Update(t.Context(), uint64(older), g.note(t, newer), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(append(g.note(t, newer), lines...), note.VerifierList(verifier)); err != nil {
			t.Errorf("their library refuses our cosignature: %v\n%s", err, lines)
		}
	}
	if lines, _, err := c.Update(t.Context(), 10, g.note(t, 30), g.proof(t, 10, 30)); err != nil || !strings.HasPrefix(string(lines), "— ") {
		t.Errorf("the next: %q %v", lines, err)
	}
	if _, size, err := c.Update(t.Context(), 10, g.note(t, 40), g.proof(t, 10, 40)); !errors.Is(err, theirs.ErrCheckpointStale) || size != 30 {
		t.Errorf("from an old size: %d %v", size, err)
	}
	forked := &growing{key: g.key, origin: g.origin, hashes: append(append([]chain.Hash{}, g.hashes[:20]...), make([]chain.Hash, 30)...)}
	if lines, _, err := c.Update(t.Context(), 30, forked.note(t, 40), forked.proof(t, 30, 40)); err == nil {
		t.Errorf("another history: %q", lines)
	}
}
