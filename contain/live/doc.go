// Package live runs the rules over the stream while it happens, and asks the brake for what live rules say.
//
// # The second consumer
//
// [Engine] reads every message with the verdict that the ledger's fold gives it ([Source]), and holds the events that may be taken for
// their emitter's to the rules, tenant by tenant. What it knows is a fold: it depends on the messages up to there and on nothing else,
// so it is the same on any machine, with any boundaries of reading, and after any number of restarts. A snapshot of it saves time and
// decides nothing: without one, or with one of other rules, the engine folds the stream again.
//
// # Firings
//
// A firing is no event: whoever folds the log with the same rules finds it, under the same id. [Book] keeps the firings of a tenant, and
// what became of them: that is in the log, as system.firing events of people and system.containment events of the brake.
//
// A rule that fires again in the same run (in the same instance, outside a run) makes no new firing; it counts as a repeat of the first,
// until an hour has passed without one or the containment that came of it was released.
//
// # What a live rule leads to
//
// The first firing of a live rule with an action asks to contain the run or the instance, unless a containment in force covers that already.
// A person is needed instead when, in the tenant,
//
//   - [MostContained] containments were asked for within a minute; of these, severity low and medium may use a quarter and high three
//     quarters, so that a flood of small things leaves room for the large one;
//   - the rule has asked for more than [MostShare] of the tenant's instances within an hour (and for [LeastInstances] at least): then it
//     is the rule that is wrong.
//
// What was asked for is pending until the log has the containment, whose id is "f-" and the firing's id. So an engine that is killed between
// firing and action finds the firing pending when it has folded the stream again, and one that was killed after it finds it done. Pending
// ones are acted on in the order of their severity, and only when the engine has come to the end of the stream as it was at its start.
//
// A machine is nobody's second person: a rule that asks for a quarantine pauses the instance, and proposes the quarantine to a person.
package live
