// Package registry is the admission state of one tenant: which instances, manifests, keys, grants, rules, holds and
// erasures are in force after a prefix of the tenant's log.
//
// [State] is a pure fold over the accepted system events of the log, in the order of their leaf indices. It reads no clock
// and draws no random number, so that ingest, ledger and an auditor's offline verifier come to the same state, and to the
// same [State.Hash], from the same events.
//
// # Validity by index
//
// Clocks decide nothing. A key that is enrolled by leaf i and revoked by leaf j is valid for the leaves [i+1, j+1): the
// event that changes a key takes effect with the next leaf. A rotation at leaf j (an enrolment that replaces the key) ends
// the old key in the same way, and the new key is valid from j+1, so that there is neither a gap nor an overlap. A key id is
// the hash of its public key and is enrolled once in a log: a revoked key does not come back. The system key of the genesis
// is valid from leaf 0.
//
// A suspicion says from which leaf on a key's leaves are in doubt; it does not end the key.
//
// # Order of things
//
// Genesis first, at index 0. An instance is created (with the salt that blinds it in leaves) before it gets a manifest or a
// key; manifest versions count up from 1; nothing is admitted from an instance without a manifest ([State.MayEmit]). An
// event that breaks the order does not apply: [State.Apply] says why and changes nothing.
//
// While a hold on the tenant or on a subject is in force, an erasure of the subject does not apply.
//
// # Entries
//
// The state is kept outside as entries, a key and a JSON value each; [State.TakeDirty] returns those that changed and
// [State.Load] takes them back. An entry with an empty value says that the key is gone.
package registry
