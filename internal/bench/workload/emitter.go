package workload

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
)

// FingerprintKeyID numbers the fingerprint key of every emitter here.
const FingerprintKeyID = 1

// Emitter makes an agent's signed batches without a spool or a network: for stages measured by themselves.
type Emitter struct {
	Tenant, Instance string
	Key              *signer.Key
	FingerprintKey   [32]byte

	agent  *Agent
	finger *event.Fingerprinter
	epoch  [event.EpochSize]byte
	last   uint64
	digest [event.DigestSize]byte
	runSeq uint64
}

// NewEmitter returns the emitter of an instance with a key made from the seed.
func NewEmitter(tenant, instance string, seed uint64) *Emitter {
	e := &Emitter{Tenant: tenant, Instance: instance, agent: NewAgent(seed)}
	var secret [32]byte
	e.agent.Read(secret[:])           //nolint:errcheck // never fails
	e.agent.Read(e.epoch[:])          //nolint:errcheck // never fails
	e.agent.Read(e.FingerprintKey[:]) //nolint:errcheck // never fails
	e.Key = signer.FromSeed(secret)
	e.finger = event.NewFingerprinter(e.FingerprintKey[:], FingerprintKeyID)
	return e
}

// UseFingerprintKey makes the fingerprints of all further events under a tenant's key.
func (e *Emitter) UseFingerprintKey(key [32]byte) {
	e.FingerprintKey, e.finger = key, event.NewFingerprinter(key[:], FingerprintKeyID)
}

// Batch is the emitter's next n events, signed.
func (e *Emitter) Batch(n int) (*eventv1.SignedBatch, error) {
	b := &eventv1.SignedBatch{}
	hashes := make([]chain.Hash, n)
	for i := range n {
		encoded, openings, err := e.event(uint32(i))
		if err != nil {
			return nil, err
		}
		b.Events, b.Openings = append(b.Events, encoded), append(b.Openings, openings...)
		hashes[i] = chain.EventHash(encoded)
	}
	var err error
	if b.Statement, err = event.MarshalStatement(e.statement(hashes)); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	if b.Signature, err = signer.SignDSSE(e.Key, signer.PayloadTypeBatch, b.Statement); err != nil {
		return nil, err
	}
	e.last, e.digest = e.last+uint64(n), event.BatchDigest(b.Statement)
	return b, nil
}

// event is what edge.Emitter.Record makes of the agent's next event.
func (e *Emitter) event(position uint32) ([]byte, []*eventv1.Opening, error) {
	now, made := time.Now(), e.agent.Next()
	id := event.NewID(now, e.agent)
	e.agent.Caused(id)
	e.runSeq++
	p := made.Plain
	p.Version, p.Id, p.Tenant, p.Instance, p.RunSeq = event.Version, id[:], e.Tenant, e.Instance, e.runSeq
	p.OccurredAt, p.TimeBasis = now.UnixNano(), eventv1.TimeBasis_TIME_BASIS_OBSERVED
	openings := e.seal(p, position, made.Sealed)
	encoded, err := event.Marshal(p)
	if err != nil {
		return nil, nil, fmt.Errorf("make event: %w", err)
	}
	return encoded, openings, nil
}

func (e *Emitter) seal(p *eventv1.Event, position uint32, sealed []edge.Content) (openings []*eventv1.Opening) {
	for _, c := range sealed {
		var salt [event.SaltSize]byte
		e.agent.Read(salt[:]) //nolint:errcheck // never fails
		digest := event.SealedDigest(event.ID(p.Id), c.Path, c.MediaType, &salt, c.Value)
		p.Sealed = append(p.Sealed, &eventv1.Sealed{
			Path: c.Path, MediaType: c.MediaType, Subject: c.Subject, Size: uint64(len(c.Value)), Digest: digest[:],
		})
		p.Fingerprints = e.finger.Append(p.Fingerprints, c.Path, c.Value)
		openings = append(openings, &eventv1.Opening{Position: position, Path: c.Path, Salt: salt[:], Value: c.Value})
	}
	slices.SortFunc(openings, func(a, b *eventv1.Opening) int { return strings.Compare(a.GetPath(), b.GetPath()) })
	return openings
}

func (e *Emitter) statement(hashes []chain.Hash) *eventv1.BatchStatement {
	root, key := chain.EventRoot(hashes), e.Key.ID()
	s := &eventv1.BatchStatement{
		Version: event.Version, Tenant: e.Tenant, Instance: e.Instance, KeyId: key[:], EpochNo: 1, Epoch: e.epoch[:],
		FirstSeq: e.last + 1, Count: uint32(len(hashes)), EventRoot: root[:], CreatedAt: time.Now().UnixNano(),
	}
	if e.last > 0 {
		s.PrevBatch = slices.Clone(e.digest[:])
	}
	return s
}

// Message is the stream message that ingest makes of a batch: openings encrypted under the vault's keys.
func Message(v *vault.Vault, tenant string, b *eventv1.SignedBatch) ([]byte, error) {
	out := &eventv1.StreamBatch{Version: event.Version, Statement: b.GetStatement(), Signature: b.GetSignature(), Events: b.GetEvents()}
	for _, o := range b.GetOpenings() {
		encrypted, err := encrypt(v, tenant, b, o)
		if err != nil {
			return nil, fmt.Errorf("encrypt opening: %w", err)
		}
		out.Openings = append(out.Openings, encrypted)
	}
	return event.MarshalStreamBatch(out)
}

func encrypt(v *vault.Vault, tenant string, b *eventv1.SignedBatch, o *eventv1.Opening) (*eventv1.EncryptedOpening, error) {
	e, err := event.Parse(b.GetEvents()[o.GetPosition()])
	if err != nil {
		return nil, err
	}
	subject := e.GetSealed()[0].GetSubject()
	keys, err := v.Ensure(tenant, []string{content.SubjectKey(subject)})
	if err != nil {
		return nil, err
	}
	data := content.AppendOpeningData(nil, event.TenantID(tenant), event.ID(e.GetId()), o.GetPath())
	ciphertext, err := vault.Seal(keys[0], data, content.AppendOpening(nil, o.GetSalt(), o.GetValue()))
	if err != nil {
		return nil, err
	}
	return &eventv1.EncryptedOpening{
		Position: o.GetPosition(), Path: o.GetPath(), Subject: subject, Generation: keys[0].Generation(), Ciphertext: ciphertext,
	}, nil
}
