// Package stream holds the one order of everything: a JetStream stream called EVENTS, in this process or on
// a NATS cluster, and the heads by which a ledger writer is elected and fenced.
//
// # Subjects
//
//	custody.ev.<tenant>.<key id>   batches of one emitter, in order; the last message is the emitter's head
//	custody.sys.<tenant>           Custody's own batches, signed with the system key
//	custody.late.<tenant>          batches at or before their emitter's head that are not that head
//	custody.tick                   empty messages that move time on when nothing else does
//
// Because an emitter's subject ends in its head, [Msg.ExpectLast] makes a publish a compare-and-set per
// emitter, on any number of processes without state. An embedded server, to which only this process publishes, is not asked for
// the comparison while the process knows the last message of an emitter because it has published it.
//
// # What the stream promises
//
//   - A publish that returned has been written and synced to disk (SyncAlways), on a cluster by a quorum.
//   - Sequences are dense: nothing is deleted, purged or discarded. A full stream refuses new messages.
//   - The message time is given by the server and is part of the message for good.
//   - A stream that was made anew has another incarnation: 16 random bytes drawn when it was created.
//
// De-duplication by [Msg.ID] only saves work: JetStream forgets an id after [DuplicateWindow] and never
// compares payloads. The ledger's fold de-duplicates for ever.
//
// Agents' messages reach an embedded server few at a time, in their order; Custody's own do not wait for them. So a receipt takes the
// syncs of the messages before it and none of those after it, and containment takes its own, however many agents publish.
//
// # When space runs out
//
// Two limits apply before the disk is really full: [Config.MaxBytes] for the stream and [Config.DiskReserve]
// for the volume. Part of each is kept for Custody's own messages, so that containment is still recorded
// while agents are pushed back. If the disk fills all the same, the embedded server's file store stays broken
// when there is space again until it is reopened: the stream probes itself after a failed publish and
// reopens the server when the probe fails though there is space.
//
// # Worked example
//
//	s, _ := stream.Open(ctx, stream.Config{Dir: "stream"})
//	seq, _, _ := s.Publish(ctx, stream.Msg{Subject: stream.SystemSubject("acme"), ID: "a1", Data: batch})
//	r := s.Read(seq, "")
//	m, _ := r.Next(ctx) // m.Seq == seq
package stream
