// Package ledger is the one deterministic function of the stream, and the writer that makes its result
// durable.
//
// # The fold
//
// [Fold] takes every message of the stream in order and gives it a verdict. It reads no clock, draws no random
// number and never fails on a message: whatever cannot be read becomes one leaf over the raw message. The same
// messages give the same leaves, roots and state, on any machine, with any block boundaries, after any number
// of restarts.
//
//	message                                   leaves                 verdict
//	undecodable; wrong root, signature,       one, over the message  malformed
//	tenant or instance; unknown key;
//	an event that is not valid
//	same batch as before                      none                   duplicate
//	a number that was used before             one, over the message  equivocation
//	a number before the head, never used      one an event           late
//	continues the head                        one an event           accepted
//	leaves numbers out                        one an event           the first gap, the others accepted
//	any of the last three, key not valid      one an event           key-invalid
//	an event whose content is closed          its own                held, unless gap, late or key-invalid
//	tick                                      none
//
// An emitter is one key. Its head is the last batch that continued it or left numbers out. A new epoch
// continues the head when it is the next one, begins with 1 and names the head as the end of the epoch before.
// Numbers at or before the head are looked up among all batches of the emitter since the beginning, in what is
// not committed yet and in the store: de-duplication is for ever.
//
// A tenant's log begins with a batch of epoch 1, sequence 1, under the system key that the configuration pins,
// whose first event is the genesis. A message for a tenant without a log is malformed in the operator's log;
// if there is none yet either, it is counted and has no effect.
//
// The running digest chains over every message, also those without leaves:
//
//	d(i) = SHA-256("custody/stream/v1\0" ‖ d(i−1) ‖ sequence(8) ‖ time(8) ‖ SHA-256(subject) ‖ SHA-256(data))
//
// [Decoder] does what needs no state (parse, hash, verify a signature by a key that is known) and may run on
// any number of goroutines; [Fold.Message] is the small serial rest.
//
// # The commit
//
// [Ledger.Run] cuts the stream into blocks and makes each durable in steps. A crash between any two leaves
// nothing to repair: the next writer goes on from the head.
//
//	1  claim    compare-and-set a higher fence into the head        once; a writer before us can set it no more
//	2  intend   compare-and-set {fence, first, last, digest}        crash: the next writer folds the same range
//	3  insert   the block, with deduplication tokens by range       crash: inserted again, counted once
//	4  done     compare-and-set the new position                    crash: readers do not see the block yet
//	5  publish  tell readers; only then sign checkpoints
//
// A recorded intent is finished with the same boundaries by whoever comes next, so that a stale writer's late
// insert has the same tokens. A writer whose compare-and-set fails stops with [ErrFenced].
//
// The writer halts for a person, and says why in [Ledger.Status], when the stream is another incarnation, has
// a hole or ends before the head, when the message at the head or the range of an intent has another digest,
// or when a message is more than [MaxClockLeap] ahead of the clock. A store that does not answer is no reason
// to halt: the writer tries again.
//
// # Check and rebuild
//
// [Ledger.Check] folds again what the store holds and compares every column of every table. [Ledger.Rebuild]
// folds the stream again, and compares, or fills an empty store.
package ledger
