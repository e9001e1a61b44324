package ingest

import (
	"fmt"
	"slices"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
)

// Sealer keeps data keys. vault.Vault is one.
type Sealer interface {
	// Ensure returns the current key of each name; they are durable.
	Ensure(tenant string, names []string) ([]*vault.Key, error)
	// FingerprintKeys returns the tenant's HMAC keys, at least one: key number n, counted from 1, stands at n-1.
	FingerprintKeys(tenant string) ([][32]byte, error)
}

// wrapper makes the stream message of a checked batch: openings and held events encrypted. It keeps its
// buffers for the next batch of its stream.
type wrapper struct {
	tenant event.TenantID
	vault  Sealer
	erased func(subject string) registry.Erasure // the newest tombstone of a subject

	names     []string
	subjects  map[string]int // place of a subject's key among keys
	subjectOf []string       // of each opening
	keys      []*vault.Key
	gone      []registry.Erasure // for each key
	data      []byte             // additional data
	plaintext []byte
	openings  []eventv1.EncryptedOpening
	secrets   []secret // found in the openings of the last batch
}

// secret is one that was found in an opening, which is encrypted anyway.
type secret struct {
	event          []byte // id
	path, detector string
}

// wrap returns the bytes of the stream message and the number of held events.
func (w *wrapper) wrap(b *batch, hashes []chain.Hash) (message []byte, held int, err error) {
	out := &eventv1.StreamBatch{
		Version: event.Version, Statement: b.signed.GetStatement(), Signature: b.signed.GetSignature(), Events: b.signed.GetEvents(),
	}
	suspects := w.scan(b)
	if err := w.ensureKeys(b, len(suspects) > 0); err != nil {
		return nil, 0, err
	}
	if err := w.hold(out, b, suspects, hashes); err != nil {
		return nil, 0, err
	}
	if err := w.encryptOpenings(out, b); err != nil {
		return nil, 0, err
	}
	if message, err = event.MarshalStreamBatch(out); err != nil {
		return nil, 0, fmt.Errorf("encode stream batch: %w", err)
	}
	return message, len(suspects), nil
}

// suspect is an event that fails the secret scan.
type suspect struct {
	position int
	detector string
}

// scan looks for secrets in events and, for the record, in openings.
func (w *wrapper) scan(b *batch) (suspects []suspect) {
	for i, encoded := range b.signed.GetEvents() {
		if _, detector, found := event.ScanEvent(encoded); found {
			suspects = append(suspects, suspect{i, detector})
		}
	}
	w.secrets = w.secrets[:0]
	for _, o := range b.signed.GetOpenings() {
		if detector, found := event.ScanSecrets(o.GetValue()); found {
			w.secrets = append(w.secrets, secret{b.events[o.GetPosition()].GetId(), o.GetPath(), detector})
		}
	}
	return suspects
}

// ensureKeys gets the data keys of all subjects of a batch at once, and at the end that of held events if there are any.
func (w *wrapper) ensureKeys(b *batch, held bool) (err error) {
	w.names, w.subjectOf, w.subjects = w.names[:0], w.subjectOf[:0], map[string]int{}
	for _, o := range b.signed.GetOpenings() {
		w.need(subjectOf(b, o))
	}
	if held {
		w.names = append(w.names, content.HeldKey)
	}
	if len(w.names) == 0 {
		return nil
	}
	if w.keys, err = w.vault.Ensure(string(w.tenant), w.names); err != nil {
		return fmt.Errorf("get data keys: %w", err)
	}
	w.gone = slices.Grow(w.gone[:0], len(w.keys))[:len(w.keys)]
	for subject, i := range w.subjects {
		w.gone[i] = w.erased(subject)
	}
	return nil
}

// need adds an opening's subject.
func (w *wrapper) need(subject string) {
	w.subjectOf = append(w.subjectOf, subject)
	if _, known := w.subjects[subject]; !known {
		w.subjects[subject] = len(w.names)
		w.names = append(w.names, content.SubjectKey(subject))
	}
}

// subjectOf is the subject of a sealed field that an opening opens.
func subjectOf(b *batch, o *eventv1.Opening) string {
	for _, sealed := range b.events[o.GetPosition()].GetSealed() {
		if sealed.GetPath() == o.GetPath() {
			return sealed.GetSubject()
		}
	}
	return ""
}

// hold takes the suspects' bytes out of the message and puts them back encrypted.
func (w *wrapper) hold(out *eventv1.StreamBatch, b *batch, suspects []suspect, hashes []chain.Hash) error {
	if len(suspects) == 0 {
		return nil
	}
	out.Events = append([][]byte(nil), out.Events...)
	key := w.keys[len(w.keys)-1]
	for _, s := range suspects {
		w.data = content.AppendHeldData(w.data[:0], w.tenant, hashes[s.position])
		ciphertext, err := vault.Seal(key, w.data, out.Events[s.position])
		if err != nil {
			return fmt.Errorf("encrypt held event: %w", err)
		}
		out.Held = append(out.Held, &eventv1.HeldEvent{
			Position: uint32(s.position), EventHash: hashes[s.position][:], Kind: uint32(event.Kind(b.events[s.position])),
			Generation: key.Generation(), Ciphertext: ciphertext, Detector: s.detector,
		})
		out.Events[s.position] = nil
	}
	return nil
}

// encryptOpenings puts each opening under its subject's key. One for a generation that is gone is dropped, and so is one
// of an event that occurred before the erasure of its subject: it was meant to go, and comes late.
func (w *wrapper) encryptOpenings(out *eventv1.StreamBatch, b *batch) error {
	all := b.signed.GetOpenings()
	if !b.under(func(i int) *vault.Key { return w.keys[w.subjects[w.subjectOf[i]]] }) {
		return errStale
	}
	w.openings = slices.Grow(w.openings[:0], len(all))[:len(all)]
	out.Openings = make([]*eventv1.EncryptedOpening, 0, len(all))
	room := make([]byte, 0, ciphertexts(all))
	for i, o := range all {
		key, gone, e := w.keys[w.subjects[w.subjectOf[i]]], w.gone[w.subjects[w.subjectOf[i]]], b.events[o.GetPosition()]
		if key.Generation() <= gone.Generation || e.GetOccurredAt() <= gone.At {
			b.drop(i)
			continue
		}
		at := len(room)
		var err error
		if room, err = w.encrypt(room, key, e, o); err != nil {
			return fmt.Errorf("encrypt opening: %w", err)
		}
		x := &w.openings[i]
		x.Position, x.Path, x.Subject, x.Generation = o.GetPosition(), o.GetPath(), w.subjectOf[i], key.Generation()
		x.Ciphertext = room[at:len(room):len(room)]
		out.Openings = append(out.Openings, x)
	}
	clear(w.plaintext)
	return nil
}

// ciphertexts is how many bytes the openings take, encrypted.
func ciphertexts(all []*eventv1.Opening) (bytes int) {
	for _, o := range all {
		bytes += len(o.GetSalt()) + len(o.GetValue()) + vault.Overhead
	}
	return bytes
}

// encrypt appends the ciphertext of one opening to dst.
func (w *wrapper) encrypt(dst []byte, key *vault.Key, e *eventv1.Event, o *eventv1.Opening) ([]byte, error) {
	w.data = content.AppendOpeningData(w.data[:0], w.tenant, event.ID(e.GetId()), o.GetPath())
	w.plaintext = content.AppendOpening(w.plaintext[:0], o.GetSalt(), o.GetValue())
	return vault.AppendSealed(dst, key, w.data, w.plaintext)
}
