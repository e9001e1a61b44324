// Package event is the event model: the exact bytes that agents sign, which of them are right, and what may be said about
// sealed content without opening it.
//
// # Canonical bytes
//
// An event, a batch statement, a signed batch and a stream batch are protobuf messages in one accepted encoding: ascending
// field numbers, each singular field once, minimal varints, valid UTF-8, no default value written out, no unknown field.
// The parsers accept bytes exactly if encoding the message again gives the same bytes. What was hashed or signed is kept as
// bytes and never encoded again to be verified.
//
// Limits (limits.go) are checked before memory is allocated. Every refusal is a [*FieldError] that names the field, for
// example "causes[3].id" or, in a batch, "events[2].execution.tool".
//
// # Validity
//
// Beyond its encoding an event is valid if the fields that its action needs are there, no others are (rules.go), every
// enumerated value is known and every length is within its limit. Tool names may be empty or whole sentences, and text may
// hold anything that is UTF-8: an agent's text is hostile, is stored as it came, and is shown to people through [Escape].
//
// # Sealed content
//
// The event holds a salted commitment ([SealedDigest]) and fingerprints of the distinctive values inside
// ([Fingerprints]); the content travels beside the event as an Opening, which [CheckOpening] holds against both.
//
//	id := event.NewID(time.Now(), nil)
//	digest := event.SealedDigest(id, "arguments", "application/json", &salt, value)
//	e.Fingerprints = event.Fingerprints(key, keyID, "arguments", value, e.Fingerprints)
//	b, err := event.Marshal(e)
//
// Secrets do not belong into an event at all: an emitter passes content through [Scrub] before it seals and signs, and the
// server holds back what [ScanSecrets] still finds.
package event
