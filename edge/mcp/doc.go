// Package mcp is a gateway: it stands between an agent and a server of the Model Context Protocol, outside the agent's process
// and with a key of its own. It decides on each call before the server sees it, and records what was asked, what was decided
// and what came of it.
//
//	agent ── stdio ──► custody mcp ── stdio ──► server
//	                      │ events, signed with the gateway's key; the control stream of the brake
//	                      ▼
//	                   Custody
//
// The protocol is https://modelcontextprotocol.io/specification, up to version 2026-07-28, over standard input and output: one
// JSON-RPC 2.0 message a line.
//
// # What is decided on
//
//	tools/call        a call of that tool
//	resources/read    a call of the tool "resources/read", of low consequence
//	prompts/get       likewise
//	tasks/result      likewise
//
// Each goes through the gate like a call of the SDK: manifest, consequence, what is contained, lease, approval. It is recorded as
// proposed, decided, started, and finished or failed. Arguments and results are sealed; what comes back is untrusted, and is on the
// record before the agent gets it. The operation of what is no call of a tool is the method. A call that is held back is answered by a
// tool's error that says why, and the server never hears of it. While the agent is stopped, so are all other requests but those that
// only look at what there is; and calls that run are cancelled: the server gets notifications/cancelled, the agent an error.
// Whether a server obeys that is not seen here.
//
// Because the gateway is not the agent, its refusal of a call is what proves that this path is closed: see package contain.
//
// What the server asks of the agent by sampling and elicitation is recorded as untrusted content that came in, and the answer as
// content that went out. They belong to the call that runs, if it is one only. All other messages pass in both directions
// with the method and params they have. Requests get ids of the gateway's own on the way, so that answers cannot be mistaken.
//
// # Input that a server wants first
//
// A result of the type input_required says that a server wants to know something first; the client makes the call again with
// what was asked for. The second is another attempt of the first: the same call id, the next attempt, the first one's start as its
// cause by the relation retry.
//
// # Runs
//
// A session is a run of the gateway. An agent that records itself may say in params._meta of a call which of its runs
// it is of ("custody/run") and which of its events led to it ("custody/cause"): then the record of the gateway hangs on that of
// the agent. That is the agent's word. It does not get round a containment of the instance, the tenant or the connector; only one of
// a run goes by it.
//
// # Tools that change
//
// A tool is a name and a description that a model believes: whoever changes it later changes what the agent does. The list
// is put on the record whenever it is another than the last, with SHA-256 of its canonical JSON (tools by name, keys by
// their bytes, no white space, numbers as written); and against the tools as they were first seen, which a file keeps,
// each difference is a finding (detector mcp-tools): changed, added, removed, colliding. With [Config.Pin] such tools
// are left out of the list and calls of them are refused; with [Config.Repin] the tools of now are kept for the first seen,
// and the differences are recorded as accepted.
//
// # What is refused
//
// A message must have one meaning, whoever parses it. Repeated keys, keys of the protocol in another case, batches, ids in other
// forms than text and integers, invalid UTF-8 and messages of more than [MaxMessage] bytes do not pass. Messages go on without
// white space, because some parsers take a carriage return for the end of a line. A call without an id does not pass either.
package mcp
