// Package ingest is the door of Custody: it takes signed batches from emitters, writes Custody's own
// events, and keeps what decides who may come in.
//
// # The door for events
//
// [Service] implements IngestService. A stream belongs to one emitter:
//
//	emitter  Hello{tenant, instance, key id}
//	server   Challenge{nonce}
//	emitter  Proof: Ed25519 over "custody/hello/v1\0" ‖ nonce ‖ channel binding
//	server   Welcome{head, fingerprint key, …}
//	emitter  SignedBatch        one at a time
//	server   Receipt or Refused
//	emitter  ObjectPart         a header, then 512 KiB at a time, before the batch that names the object
//	server   ObjectTaken or Refused
//
// The channel binding is 32 bytes of TLS keying material (RFC 5705, label [BindingLabel], no context): a
// proof cannot be carried to another connection. Whatever is wrong with a Hello or a Proof gives the same
// answer, so a stranger learns neither tenants nor keys.
//
// A batch is checked in this order: sizes, statement, scope, key and manifest, numbering against the last
// message of the emitter's subject, signature and root, every event, every opening. Then its openings are
// encrypted, and an event that holds a secret is held: it travels encrypted, as a whole. The message is
// published with the last sequence of its subject expected, so of two that continue the same head one gets
// in. The receipt is signed after the stream has the message on disk. A crash before the receipt costs
// nothing: the emitter sends the batch again, it is the head, and the receipt is made anew.
//
// These checks are fast refusals. What a batch is worth is decided by the ledger's fold alone.
//
// # Objects
//
// A sealed value of more than 64 KiB comes before its batch. Its parts are gathered in memory, at most objectMemory for all
// emitters together; the whole is held against its commitment, looked through for secrets, fingerprinted, encrypted and synced to
// disk (package object) before the last ObjectTaken. A batch is checked against what was noted then, names its objects for good, and is
// published. If an object is not there, the batch is refused with the opening that misses it, and the sender sends both
// again. An emitter may have [event.MaxBatchObjects] on their way to one batch. What no batch names is removed after
// [object.Patience].
//
// # Refusals
//
// Every refusal names a reason and the field that is wrong, and changes nothing. It is counted, and recorded
// in the tenant's log at most once a minute for each emitter and reason; strangers only in the operator log.
// When the stream is full, the disk's reserve is reached (also by objects) or the ledger is more than [MaxBacklog] events
// behind, batches are pushed back with a time to wait. Custody's own events are exempt.
//
// # Who may come in
//
// [Admission] holds each tenant's registry as it is at the end of the stream. It begins with what the ledger
// has folded and follows custody.sys.>; nothing but a system batch with the system key's signature changes
// it.
//
// # Custody's own events
//
// [System] numbers, signs and publishes them. [Admin] and [Enrol] are the services that make such events on
// behalf of people and of emitters that join.
package ingest
