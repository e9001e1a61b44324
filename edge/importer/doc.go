// Package importer reads traces that agents left elsewhere and records them as events: AgentDojo's benchmark runs and
// tau-bench's historical trajectories. docs/DATA.md says where both are published.
//
// # What is read
//
// A file is .json (one run, or a list of runs), .jsonl (one run a line), or either with .zst. Files are streamed: memory
// holds a few runs of each pipeline, never a file. A bad run is a [Problem] with its file, line and field; it is counted
// and the rest goes on.
//
// Of an AgentDojo run id, suite_name, pipeline_name, messages, duration and whether error is null are read; the text of
// error is not, because it names the benchmark's task. Of a tau-bench run traj alone is read. The benchmarks' labels
// (injections, attack_type, injection_task_id, user_task_id, security, utility, reward, info) and the path of an
// AgentDojo file change no byte of what is recorded, so that whatever judges the events is scored fairly; paths decide
// only which file is read first. The name of a tau-bench file gives the model's name, which the trace lacks.
//
// # What is recorded
//
// Each suite is a tenant, each pipeline an instance of it, each run a run:
//
//	run_started           workflow, goal (sealed), model, digest of the system prompt
//	input_received        a message of the user, trusted
//	approval requested    tau-bench: the agent's message that the customer answered; by digest, and sealed
//	approval approved     tau-bench: the customer's explicit yes, where a write follows it
//	proposed              a call that the model asked for; arguments sealed
//	decided (block)       only where the trace itself shows a refusal
//	started               a call that has a result
//	finished or failed
//	document_retrieved    what the call gave back to the model, untrusted
//	run_ended             the model's last words (sealed), and whether the run failed
//
// A call that the gate refused has proposed, decided and document_retrieved, and never started. Where a filter withheld
// the *result* of a call (its whole content is a notice that says so) the call did run: decided (block) then follows
// finished. A call without a result is proposed and no more.
//
// # What is made and what is inferred
//
// The traces have no times. A run begins at a time between 1 and 29 June 2024 that its id decides; its duration is spread
// evenly over its messages (without one, a second each), and the events of one message follow each other by a
// microsecond. Every event says so: time_basis made.
//
// The traces say which calls a message holds and which result answers which call, and no other cause. A proposal's
// causes are the latest input and the newest results before it, basis inferred. Causes between the stages of one call
// are recorded where ids link the result to the call, and inferred where only its place does. Approvals are inferred.
//
// # Ids and resuming
//
// A run's id is the record's own, or else the hash of what is read of it. An event's id is a UUIDv7 of its made time and
// SHA-256("custody/import/event/v1\0" ‖ tenant ‖ 0 ‖ instance ‖ 0 ‖ run ‖ 0 ‖ ordinal (4 bytes)). So the same trace
// gives the same events whenever and in whatever company it is imported; only what the emitter adds (salts, run_seq)
// differs.
//
// A journal in the state folder holds one line for each run that the sink has taken, and a cursor for each instance says
// how far its present run has come. Another import with the same folder leaves out what was taken and goes on in the
// middle of a run. A killed import leaves the emitter at most one event ahead of the cursor, and the emitter's spool tells
// ([Holder]). Journal and cursors survive what the spool survives: the death of the process, not of the power.
package importer
