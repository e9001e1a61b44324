package ingest

import (
	"crypto/rand"
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

// seals are what an emitter's content is sealed with.
type seals struct {
	tenant event.TenantID
	vault  Sealer
	erased func(subject string) registry.Erasure // the newest tombstone of a subject
}

// wrapper makes the stream message of a checked batch: openings and held events encrypted. It keeps its
// buffers for the next batch.
type wrapper struct {
	*seals

	names     []string
	subjects  map[string]int // place of a subject's key among keys
	last      string         // subject that was looked up
	places    []int          // of each opening's key among keys
	keys      []*vault.Key
	gone      []registry.Erasure // for each key
	data      []byte             // additional data
	plaintext []byte
	nonces    []byte
	room      []byte // ciphertexts
	openings  []eventv1.EncryptedOpening
	sealed    []*eventv1.EncryptedOpening // those that are not dropped
}

// forget lets go of the last batch.
func (w *wrapper) forget() {
	w.seals, w.keys, w.last = nil, nil, ""
	clear(w.names)
	clear(w.subjects)
	clear(w.plaintext[:cap(w.plaintext)])
	clear(w.openings)
	clear(w.sealed)
}

// secret is one that was found in an opening, which is encrypted anyway.
type secret struct {
	event          []byte // id
	path, detector string
}

// wrap appends the bytes of the stream message to room, which is empty, and returns them and the number of held events.
func (w *wrapper) wrap(room []byte, b *batch, with *seals, hashes []chain.Hash) (message []byte, held int, err error) {
	w.seals = with
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
	if message, err = event.AppendStreamBatch(room, out); err != nil {
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
		if _, detector, found := event.ScanParsed(b.events[i], encoded); found {
			suspects = append(suspects, suspect{i, detector})
		}
	}
	for _, o := range b.signed.GetOpenings() {
		if detector, found := event.ScanSecrets(o.GetValue()); found {
			b.secrets = append(b.secrets, secret{b.events[o.GetPosition()].GetId(), o.GetPath(), detector})
		}
	}
	return suspects
}

// ensureKeys gets the data keys of all subjects of a batch at once, and at the end that of held events if there are any.
func (w *wrapper) ensureKeys(b *batch, held bool) (err error) {
	w.names, w.places = w.names[:0], w.places[:0]
	if w.subjects == nil {
		w.subjects = make(map[string]int)
	}
	for i, o := range b.signed.GetOpenings() {
		subject := subjectOf(b, o)
		if i > 0 && subject == w.last {
			w.places = append(w.places, w.places[i-1])
			continue
		}
		w.last = subject
		w.places = append(w.places, w.need(subject))
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

// need is the place of a subject's key.
func (w *wrapper) need(subject string) int {
	place, known := w.subjects[subject]
	if !known {
		place = len(w.names)
		w.subjects[subject] = place
		w.names = append(w.names, content.SubjectKey(subject))
	}
	return place
}

// subjectOf is the subject of a sealed field that an opening opens.
func subjectOf(b *batch, o *eventv1.Opening) string {
	return sealedAt(b.events[o.GetPosition()], o.GetPath()).GetSubject()
}

// sealedAt is the sealed field of a path, nil if there is none.
func sealedAt(e *eventv1.Event, path string) *eventv1.Sealed {
	for _, sealed := range e.GetSealed() {
		if sealed.GetPath() == path {
			return sealed
		}
	}
	return nil
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
	if !b.under(func(i int) *vault.Key { return w.keys[w.places[i]] }) {
		return errStale
	}
	w.prepare(all)
	for i, o := range all {
		key, gone, e := w.keys[w.places[i]], w.gone[w.places[i]], b.events[o.GetPosition()]
		if key.Generation() <= gone.Generation || e.GetOccurredAt() <= gone.At {
			b.drop(i)
			continue
		}
		x := &w.openings[i]
		x.Position, x.Path, x.Subject, x.Generation = o.GetPosition(), o.GetPath(), sealedAt(e, o.GetPath()).GetSubject(), key.Generation()
		if err := w.encrypt(x, key, vault.Nonce(w.nonces[i*vault.NonceSize:]), o, e.GetId()); err != nil {
			return fmt.Errorf("encrypt opening: %w", err)
		}
		w.sealed = append(w.sealed, x)
	}
	out.Openings = w.sealed
	return nil
}

// prepare makes room for the encrypted openings, and draws all their nonces at once.
func (w *wrapper) prepare(all []*eventv1.Opening) {
	w.openings, w.sealed = slices.Grow(w.openings[:0], len(all))[:len(all)], w.sealed[:0]
	w.room = slices.Grow(w.room[:0], ciphertexts(all))
	w.nonces = slices.Grow(w.nonces[:0], len(all)*vault.NonceSize)[:len(all)*vault.NonceSize]
	rand.Read(w.nonces) // never fails
}

// ciphertexts is how many bytes the openings take, encrypted.
func ciphertexts(all []*eventv1.Opening) (bytes int) {
	for _, o := range all {
		bytes += len(o.GetSalt()) + len(o.GetValue()) + vault.Overhead
	}
	return bytes
}

// encrypt makes the ciphertext of one opening. The bytes are copied into the message before the room is used again.
func (w *wrapper) encrypt(x *eventv1.EncryptedOpening, key *vault.Key, nonce vault.Nonce, o *eventv1.Opening, id []byte) (err error) {
	w.data = content.AppendOpeningData(w.data[:0], w.tenant, event.ID(id), o.GetPath())
	w.plaintext = content.AppendOpening(w.plaintext[:0], o.GetSalt(), o.GetValue())
	at := len(w.room)
	w.room, err = vault.AppendSealedWith(w.room, key, nonce, w.data, w.plaintext)
	x.Ciphertext = w.room[at:len(w.room):len(w.room)]
	return err
}
