// Package contain is the brake: it stops tenants, instances, runs, connectors, credentials and principals, and says how far it
// knows that they have stopped.
//
// # What is in force
//
// [State] is a fold over the containment events of one tenant's log. Nothing else decides: a request is an event, what became
// of each step is an event, a release is an event, all signed by Custody and chained like everything else. The state is the
// same whoever folds it, however often an event is repeated, and wherever reading stopped in between.
//
// # Four states a step
//
// A containment has a step for each path that it closes: the gate beside each agent key ("gate/<key id>"), each connector
// that revokes ("connector/<name>"), and each credential that was derived from a connector's ("connector/<name>/<what>").
//
//	requested     it is in the log
//	delivered     the target has it
//	acknowledged  the target says that it has stopped, and that nothing is running any more
//	verified      somebody outside the target's process has seen that it is closed
//
// A run that a rule has paused has the gates of its instance for steps. The others get the containment too, and one that has something
// of that run to stop is then a step as well.
//
// Silence, the end of a lease and the target's own word never verify. A step that stays short of verified reads NOT PROVEN
// with what is known, and is passed on to a person after [Config.UnprovenAfter].
//
// # The gate and its lease
//
// The gate is part of the SDK, in the agent's own process: it holds back an agent that is wrong, not one that is hostile. It
// watches [Engine.Watch]; whenever what is in force changes, it gets all of it anew. To act with high consequence it needs a
// lease, which lasts [LeaseTTL] from the moment it *sent* the renewal, by a clock that runs while the machine sleeps. The
// server knows when it received that renewal, which is later; so after LeaseTTL and [LeaseMargin] from there the lease is over on
// both sides. It lends none to a gate that is contained, or that has not put the newest control in force.
//
// # What ends by itself
//
// A containment lasts until it is released, unless it was asked to last for a time. [ExpiryNotice] before its end a person is told, and the log
// holds that; only then, and no sooner than the notice after it, Custody releases it.
//
// # Restarts
//
// A person may extend the leases of a tenant, for at most [event.MaxLeaseExtension], because the server is about to restart. The
// extension is in the log before it is lent, so that the next process counts with it; each such lease is signed for one gate, one
// connection and one renewal, and a gate takes none of more than a minute without that.
//
// # Before it is needed
//
// At an interval every way of stopping every instance is tried without harm ([Engine.Armed]): a gate decides on a call that nobody makes,
// under a pause that is not in force and a lease that ends; a connector's probe looks at the live credential. The log holds what
// has changed. A drill ([Engine.Drill]) stops an instance that is labelled as a canary, and its report is signed.
//
// # Who
//
// A containment of a whole tenant, a quarantine, and the release of either need a second person: the first request is a
// proposal, and the same request by another person within [ProposalTTL] confirms it. Breaking the glass skips that, and says
// so in the log for ever.
//
// # Trust
//
// Only batches that carry the system key's signature are folded. A gate proves its key on its connection. What an agent's gate
// reports is the agent's word; what a gateway's gate reports has been seen from outside the agent.
package contain
