package workload

import (
	"fmt"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/stream"
)

// Custody is the system emitter of one tenant: it opens the log and enrols keys, as ingest does.
type Custody struct {
	Emitter
	log *signer.Key
}

// NewCustody returns the system emitter of a tenant whose log has nothing yet.
func NewCustody(tenant string, seed uint64) *Custody {
	c := &Custody{Emitter: *NewEmitter(tenant, string(event.InstanceCustody), seed)}
	c.log = c.Key
	return c
}

// Open is the stream message with the genesis, the instances of the emitters and their keys.
func (c *Custody) Open(emitters ...*Emitter) ([]byte, error) {
	events := []*eventv1.System{c.genesis()}
	for _, e := range emitters {
		key, err := enrolment(e)
		if err != nil {
			return nil, err
		}
		var salt [event.SaltSize]byte
		c.agent.Read(salt[:]) //nolint:errcheck // never fails
		events = append(events,
			&eventv1.System{Detail: &eventv1.System_Instance{Instance: &eventv1.InstanceChange{Instance: e.Instance, Salt: salt[:]}}},
			&eventv1.System{Detail: &eventv1.System_Key{Key: key}})
	}
	return c.message(events)
}

func (c *Custody) genesis() *eventv1.System {
	system, log := c.Key.Public(), c.log.Public()
	var salt [event.SaltSize]byte
	c.agent.Read(salt[:]) //nolint:errcheck // never fails
	return &eventv1.System{Detail: &eventv1.System_Genesis{Genesis: &eventv1.Genesis{
		Origin: "bench.example/custody/" + c.Tenant, SystemKey: system[:], LogKey: log[:], SystemSalt: salt[:],
	}}}
}

func enrolment(e *Emitter) (*eventv1.KeyChange, error) {
	id, public := e.Key.ID(), e.Key.Public()
	agent := eventv1.ProducerClass_PRODUCER_CLASS_AGENT
	proof, err := e.Key.Sign(registry.EnrolmentMessage(e.Tenant, e.Instance, agent, public[:]))
	if err != nil {
		return nil, err
	}
	return &eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public[:], Instance: e.Instance, Producer: agent, Proof: proof,
	}, nil
}

// message signs system events as one batch.
func (c *Custody) message(changes []*eventv1.System) ([]byte, error) {
	out := &eventv1.StreamBatch{Version: event.Version}
	hashes := make([]chain.Hash, len(changes))
	for i, change := range changes {
		now := time.Now()
		id := event.NewID(now, c.agent)
		encoded, err := event.Marshal(&eventv1.Event{
			Version: event.Version, Id: id[:], Tenant: c.Tenant, Instance: c.Instance, OccurredAt: now.UnixNano(),
			TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED, Body: &eventv1.Event_System{System: change},
		})
		if err != nil {
			return nil, fmt.Errorf("make system event: %w", err)
		}
		out.Events, hashes[i] = append(out.Events, encoded), chain.EventHash(encoded)
	}
	var err error
	if out.Statement, err = event.MarshalStatement(c.statement(hashes)); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	if out.Signature, err = signer.SignDSSE(c.Key, signer.PayloadTypeBatch, out.Statement); err != nil {
		return nil, err
	}
	c.last, c.digest = c.last+uint64(len(changes)), event.BatchDigest(out.Statement)
	return event.MarshalStreamBatch(out)
}

// Log makes the messages of one tenant's log, with their place in a stream: the genesis and enrolments, then
// batches of the emitters in turn.
type Log struct {
	custody  *Custody
	emitters []*Emitter
	vault    *vault.Vault
	seq      uint64
}

// NewLog returns the log of a tenant with so many emitters, whose openings are encrypted under the vault's keys.
func NewLog(tenant string, emitters int, v *vault.Vault) (*Log, error) {
	key, err := v.FingerprintKey(tenant)
	if err != nil {
		return nil, err
	}
	l := &Log{custody: NewCustody(tenant, 1), vault: v}
	for i := range emitters {
		e := NewEmitter(tenant, fmt.Sprintf("support-%d", i+1), uint64(i+2))
		e.UseFingerprintKey(key)
		l.emitters = append(l.emitters, e)
	}
	return l, nil
}

// System is the public key of Custody's own batches.
func (l *Log) System() signer.PublicKey { return l.custody.Key.Public() }

// Next is the next message. The first is Custody's; every later one is a batch of n events.
func (l *Log) Next(n int) (m stream.Message, err error) {
	m = stream.Message{Seq: l.seq + 1, Time: time.Now().UnixNano()}
	if l.seq == 0 {
		m.Subject = stream.SystemSubject(l.custody.Tenant)
		m.Data, err = l.custody.Open(l.emitters...)
	} else {
		e := l.emitters[l.seq%uint64(len(l.emitters))]
		m.Subject = stream.EventSubject(e.Tenant, e.Key.ID())
		m.Data, err = l.batch(e, n)
	}
	if err == nil {
		l.seq++
	}
	return m, err
}

func (l *Log) batch(e *Emitter, n int) ([]byte, error) {
	b, err := e.Batch(n)
	if err != nil {
		return nil, err
	}
	return Message(l.vault, e.Tenant, b)
}
