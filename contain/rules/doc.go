// Package rules recognises an agent going wrong. It reads the leaves of one tenant's log in order and says which rules fire.
//
//	set, err := rules.Parse(yaml)          // strict; every condition is compiled once
//	engine := rules.New(set)
//	for leaf := range log {
//		for _, f := range engine.Observe(leaf) { … }
//	}
//
// The same engine runs live and over history, because it is a fold: it reads no clock and draws no random number, time is the
// leaf's, and its state after a leaf depends on nothing but the leaves up to there. [Engine.Snapshot] and [Restore] carry the
// state over a restart; two engines with the same history have the same [Engine.Hash].
//
// # A rule
//
//	rule: untrusted-address-in-a-send      # its id, for ever
//	version: 1                             # counts up with every change of meaning
//	description: what a person at 3 a.m. must know
//	severity: high                         # low, medium, high, critical
//	requirements: [T1]                     # what it shows, and the names others have for it
//	asi: [ASI01]
//	atlas: [AML.T0051.001]
//	on: [execution.started]                # the actions that are looked at
//	when: consequence == "high" && tainted_value
//	action: pause                          # none, restrict, pause, quarantine
//	reach: run                             # what it stops: run (default) or instance
//	exceptions:
//	- {name: newsletter, when: destination == "news.example", owner: marketing, expires: 2027-06-30}
//
// Conditions are CEL (https://cel.dev) over the variables that [Variables] lists, with a bound on their cost. A macro is a named
// condition, a list a named list of texts; both stand before the rules that use them.
//
// Beyond one event a rule has one of:
//
//	sequence:  {by: run, within: 10m, steps: [condition, …]}           all steps, in this order
//	threshold: {by: instance, within: 1m, count: 20, distinct: destination}   so often, or so many different values
//	baseline:  {by: instance, of: tool, learn: 200, over: 168h}        the first time, after so many events and so long to learn from
//	deadline:  {by: call, after: condition, until: condition, within: 5m}     what should have followed and did not
//
// by joins events: run, instance, workflow, principal, call, credential, connector, resource, memory_key, digest (of the same content, or
// the same arguments) or tenant.
//
// # Findings
//
// What a detector finds about a proposed call has the proposal as its cause; tool, consequence, verb, call and approved are then those
// of the call, so that a rule on data.content_finding can stop it before it starts. Package edge/detect has the marks of such
// findings. A rule with content: true goes by the wording of untrusted content; [Evaluation] scores such rules apart.
//
// # Taint
//
// Content is untrusted when its event says so. An event is tainted when a cause of it is, and a value is when it is in untrusted
// content of the run and in no trusted content: not from the user, and not in what the instance trusted in earlier runs. Values
// are compared by their fingerprints; nothing is opened. A manifest has no fingerprints: what it names is in destination_named. A memory that was written by a tainted event taints whoever reads it, in
// any run, for as long as the key is remembered.
//
// # Bounds
//
// State is bounded, and each bound is a constant of limits.go; what does not fit any more is the oldest, and [Stats] counts it.
//
// # Modes
//
// A rule begins in shadow. Which mode it has in a tenant is decided by that tenant's log: a system.rule event names the rule, its
// version and its [Rule.Digest], and holds from the next leaf on. A rule whose version or meaning changes is in shadow again.
//
// The engine never acts. Firings of rules in shadow, and of imported events, say so in [Firing.Silent].
package rules
