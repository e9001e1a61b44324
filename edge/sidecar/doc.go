// Package sidecar lets a program in any language record events: it writes JSON lines to the standard input of `custody
// edge`, or to its Unix socket, and reads one answer for each.
//
// # A line
//
// One JSON object, at most [MaxLine] bytes, in valid UTF-8, without unknown or repeated keys and without null. Keys are the
// names of custody.event.v1.Event:
//
//	{"run": "run-7", "principal": "user-7f3a", "trust": "untrusted",
//	 "causes": [{"id": "0190a8e2-5c1f-7a3b-9d2e-3f4a5b6c7d8e", "relation": "input"}],
//	 "execution": {"action": "proposed", "call": "c1", "tool": "send_email", "consequence": "high"},
//	 "sealed": {"arguments": "{\"to\":\"alice@example.com\"}"}}
//
//	key                   value
//	identity, data,       the body, exactly one of them, with its "action"
//	execution, approval
//	sealed                {path: content}: content is a string, or an object with "value" or "base64", and optional
//	                      "media_type" and "subject". In the clear here; sealed before it leaves the machine
//	write_ahead           true: the answer comes when Custody has the event on its disk
//	id                    optional: a UUIDv7. It is made if it is left out, and is in the answer
//	run                   the task that the event belongs to; the sidecar numbers its events
//	principal, on_behalf_of, occurred_at, time_basis, trust, causes
//
// Enumerated values are lower-case words: "untrusted", "needs_approval". Event ids are UUIDs, other bytes are lower-case
// hexadecimal, times and durations are integers of nanoseconds, as in the schema. A cause's basis is "recorded" if it is
// left out. Everything else is set by the sidecar, from its own key.
//
// [Example] has a line for every action.
//
// # The gate
//
// A program that may not act on its own asks before each call, and says afterwards how it ended. The sidecar records proposal,
// decision, approval, start and end, so the program records none of them:
//
//	{"ask": {"call": "c1", "tool": "send_email", "connector": "mail", "consequence": "high"},
//	 "run": "run-7", "principal": "user-7f3a", "trust": "untrusted", "causes": [{"id": "…", "relation": "input"}],
//	 "sealed": {"arguments": "{\"to\":\"alice@example.com\"}"}}
//	{"done": {"call": "c1", "outcome": "ok"}, "sealed": {"result": "sent"}}
//
//	key     value
//	ask     call (unique in the connection until it is done) and tool; optional: operation, connector, consequence,
//	        destination, attempt. Beside it: run, and what a line has otherwise
//	done    call and outcome. Beside it: sealed result, or sealed error; trust of the result, untrusted if it is left out
//	watch   true: from now on the sidecar also writes lines that answer nothing
//
// The answer to an ask says what was decided. Only "allow" allows:
//
//	{"ok":true,"id":"0190a8e2-…","call":"c1","decision":"allow"}
//	{"ok":true,"call":"c1","decision":"block","reason":"call send_email: call is blocked: contained: pause of …"}
//	{"ok":true,"call":"c1","decision":"needs_approval","reason":"… nobody has approved it …"}
//
// An ask can wait: for an approver, a lease, or the receipt of a start of high consequence; other lines are answered meanwhile. The answer to a done has the id of the
// end, and the reason if the call was to stop. Calls that are not done when the connection ends are recorded as failed.
//
// These lines come on their own, between answers, after watch: all that is contained, at once and whenever it changes; and each
// call of this connection that must stop now.
//
//	{"contained":[{"id":"c-1","target":"instance/acme/support-1","level":"pause"}]}
//	{"stop":{"call":"c1","reason":"call is blocked: contained: pause of instance/acme/support-1 (c-1)"}}
//
// # An answer
//
//	{"ok":true,"id":"0190a8e2-6d2a-7b4c-8e3f-4a5b6c7d8e9f"}
//	{"ok":false,"line":3,"field":"execution.tool","error":"longer than 4096 bytes"}
//	{"ok":false,"retry":true,"line":4,"error":"reserve 812 bytes: spool is full"}
//
// Answers come in the order of the lines, but for that to an ask, which comes when the call is decided: a person may take long, and
// the lines after it do not wait. It names its call. A done of a call that is not decided waits for the decision, and so does the end of
// the lines. A line that is refused changes nothing, and the next one is read. With retry nothing is wrong with the line: the spool is
// full, and the same line can be sent again later. An answer that
// is ok means what Record means: the event survives the death of the sidecar.
//
// # The socket
//
// Only its owner can connect (mode 0600). Several programs may be connected; each has its own lines and answers.
package sidecar
