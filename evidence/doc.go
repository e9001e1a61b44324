// Package evidence writes evidence bundles and verifies them offline.
//
// A bundle holds what one tenant's log received in one time window, with everything that somebody who trusts nobody needs to
// check it: the leaves and the hashes beside them up to a signed tree head, every batch with its producer's signature, the exact bytes of
// every event, disclosed content with its salts, and the records of the log that say which key counted where. The layout of
// every file stands in docs/FORMAT.md, section 8.
//
// # Trust
//
// [Verify] takes nothing from the bundle on trust. What it trusts stands in a [Policy], which the auditor gets from the operator on
// another way and compares by telephone ([Policy.Fingerprints]): the log's name and its keys. Without a policy it can say that a bundle is
// intact, and nothing about who made it.
//
// # Answers
//
// There is never one tick. A [Verdict] answers four questions, each on its own: is it intact, is it authentic, is it complete,
// and who says so. Every check has a name that stays ([CheckContainer] and the others) and every class of failure an exit code of its
// own ([ExitContainer] and the others). [Verdict.Text] says the same to a lawyer.
//
// What cannot be proven is not claimed. That nothing which was received is missing follows from the tree; that
// nothing which was made is missing follows only from the producers' own numbering, as far as it is closed; and a producer
// that says nothing at all is noticed only by others.
//
// # Parts
//
// A [Scope] may name one instance, or one run of it. Then the leaves of all others in the window are there too, because the tree is proven
// by all of them, and nothing else of them is: no name, no content. That none of them belongs to the part is the operator's claim, which the
// numbers hold that its emitters have signed; [Selection] says for how many of them. A bundle can also prove that its log continues states
// that somebody holds from before ([ExportOptions].Held, [VerifyOptions].Held), and an auditor's [Sample] is drawn from its populations.
//
// # Lists, controls and the report
//
// Beside the records a bundle holds what follows from them: lists from which an auditor samples (populations.go), and what they say about
// the controls of frameworks (controls.go, query.go). Writer and verifier run the same derivation over the same records, so neither is
// believed. report.html (package evidence/report) repeats all that for a person; no verification reads it.
//
// A statement of isolation ([StateIsolation], [VerifyIsolation]) is a file of its own: what one tenant's records share with those of others.
//
// # Memory
//
// Both sides stream. The writer stages files on disk because a container states sizes before contents; the verifier reads four
// files side by side, message by message, once, and hashes them as it reads (once.go). What grows is small: one entry for each emitter, epoch and gap, and for each erasure.
//
// Worked example:
//
//	summary, err := evidence.Export(ctx, file, reader, scope, exportKey, evidence.ExportOptions{})
//	verdict, err := evidence.Verify(ctx, file, size, policy, evidence.VerifyOptions{})
//	fmt.Print(verdict.Text())
//	os.Exit(verdict.Exit)
package evidence
