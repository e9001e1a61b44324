// Package edge runs beside an agent: it turns what the agent does into events, seals what is secret, and delivers
// everything to Custody in signed batches.
//
// # Using it
//
//	e, err := edge.FromEnv(ctx)                       // CUSTODY_EMITTER names the folder made by `custody join`
//	defer e.Close(ctx)
//	ctx, run := e.Run(ctx, edge.RunOptions{Principal: "user-7f3a", Workflow: "support"})
//	ctx = edge.Input(ctx, "e-mail", message, edge.Untrusted)
//	out, err := edge.Call(ctx, "send_email", args, send) // proposed, decided, started, finished
//	err = run.End(edge.OK)
//
// What was received or retrieved in a context becomes a cause of what is done with that context, and untrusted content
// taints it, until [Validated] says otherwise. A helper that returns a context and no error keeps the first error in the
// context: the next [Call] returns it instead of acting, and [Run.End] returns it. So nothing is done unrecorded.
//
// [Emitter.Record] is the general call; everything else is built on it.
//
// # What is promised
//
//   - Record returns when the event is in the spool: it survives the death of the process (kill -9), not of the power.
//   - [Emitter.Flush] and [Emitter.WriteAhead] return when Custody has given its receipt: the event is on Custody's disk.
//   - A full spool makes Record wait or fail, as [Config.FullPolicy] says. Nothing is dropped silently: a batch that
//     Custody can never accept is set aside in the folder refused, with the reason, and reported.
//   - If Custody stands behind what it gave receipts for, the loss is reported and put on the record, and the receipts are
//     kept: they prove it.
//   - Events reach Custody in the order of Record, each once, over any number of restarts. After a power cut, events that
//     Custody already holds are not sent again, and numbers are not used twice.
//   - Sealed content of up to 16 MiB, and half of the spool, travels whole. What the disk has lost of it, or Custody can never
//     take, is withheld: the event goes without it, and that is reported.
//   - An event is valid and scrubbed of secrets before it is spooled. Record's error is an *event.FieldError that names
//     the field.
//
// # Folder
//
//	key.pem          the emitter's Ed25519 key; it never leaves the folder (key-1.pem after a rotation, and so on)
//	identity.json    who the key stands for, where Custody is, and the key of its receipts, pinned at first contact
//	fingerprint.json the tenant's fingerprint key, so that recording works offline after the first contact
//	lock             held by the one process that uses the key
//	spool/           events without a receipt; sealed content lies here in the clear, what is longer than 64 KiB in files of its own
//	receipts/        the newest receipts: proof that Custody took a batch; Config.Receipts keeps all of them, elsewhere
//	refused/         batches that Custody refused for good, and why; long values that it would not take
//
// All of it is readable by its owner only.
//
// # Epochs
//
// Each start opens an epoch, and events are numbered in it from 1. What an older start left behind is delivered first. If
// Custody refuses the numbering, or a batch for good, the events that are left are numbered again in a new epoch. Events
// do not hold their number, so they are the same bytes; run_seq, heartbeats and the closing event stay as they were
// recorded.
package edge
