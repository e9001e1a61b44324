// Package cases is what people do about an incident, until the system is changed so that it does not happen again.
//
// # A case
//
// Somebody opens a case about a target. From then on its records are held, and it gathers what belongs to it: events, the firings
// that nobody has done with yet with the containments that came of them, and the containments of its target, now and later. The responder says by what it was triggered (user, retrieval, memory, connector) and
// what failed (permissions, policy, prompt, monitoring), each with the ids of events that bear it out and that exist in the
// tenant's log.
//
// # What must be settled
//
//	scopes      they are presumed too broad, until a manifest or a review of the scope comes after the opening
//	secrets     rotated: a key is revoked or rotated, or a connector's revocation is verified, after the trigger
//	rollback    what was done is undone, as far as it can be
//	quarantine  the target is paused or quarantined
//	review      a person has reviewed memory, retrieval, access or scope
//
// An event of the log that shows it settles an item by itself; otherwise a person does, citing events, or says why nothing had
// to be done.
//
// # When it closes
//
// A case closes only when trigger and failure are classified, every item is settled, and a change of the system is cited that
// came after the trigger: a rule that went live, a manifest, a credential that was revoked or rotated, a connector that has
// shown a credential dead. A changed prompt is no such change: the next one may change it back.
//
// # A fold
//
// [State] is a pure fold over the system events of one tenant. An act that the rules above do not allow changes nothing, whoever has
// recorded it: a case that reads closed was closed by these rules. Its order is the stream's, its times are the stream's.
package cases
