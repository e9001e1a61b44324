// Package spool keeps an emitter's events on disk from the moment they are recorded until Custody has given a receipt.
//
// # What it promises
//
// [Ticket.Wait] returns when the kernel has the event: it then survives the death of the process, not of the power.
// Nothing is dropped: when [Options.MaxBytes] are used, [Spool.Reserve] waits or fails. An event leaves the disk when
// it is acknowledged, or when the caller has set it aside and says so with [Queue.NewEpoch].
//
// # Files
//
//	DIR/00000000000000000007/      one queue for each start of the process, oldest first
//	DIR/00000000000000000007/0.tail        the newest frames, before they go to a segment
//	DIR/00000000000000000007/00000001.seg  …
//	DIR/00000000000000000007/<salt in hexadecimal>.object  a sealed value that is too long for a batch, and nothing else
//
// A segment is a sequence of frames and nothing else; all integers are big endian:
//
//	bytes  field
//	    4  n, length of type and body, 1 ≤ n ≤ MaxFrame
//	    4  CRC-32C (RFC 3720 appendix B.4) of type and body
//	    1  type
//	n − 1  body
//
//	type         body
//	1 header     the whole state of the queue so far; the first frame of every segment and of no other place
//	2 event      an event and the openings of its sealed fields
//	3 statement  a signed statement, written before it is sent, so that it is sent again with the same bytes
//	4 ack        everything up to a sequence number is acknowledged
//	5 epoch      from here on, events that are not acknowledged are numbered again, in a new epoch
//
// An opening whose path begins with 0xff, which no path does, stands for the file that its salt names: written before the frame,
// within the same limit of bytes, deleted after the acknowledgement. What a crash leaves of it goes with its queue.
//
// Because each header repeats the state, the segments before it can be deleted once their events are acknowledged.
//
// # Tail
//
// Where the system can allocate disk space for a file and map it into memory, the newest frames are in the tail, a file of 64 KiB
// that comes on top of [Options.MaxBytes]. A shared mapping is the kernel's memory, so what is copied there survives the process
// as what is written does, without a system call for each event. When the tail is full, or when the sender reads, one write takes
// all of it to the segment, and it is wiped:
//
//	bytes  field
//	    1  version
//	 8, 8  segment and offset there of the first frame
//	    4  CRC-32C of all that
//
// and then for each frame
//
//	4  CRC-32C of segment and offset of this frame and of its first 8 bytes
//	…  the frame
//
// # Numbers
//
// A [Place] counts the events of a queue from 1 and never changes. A [Seq] is the number that is signed: the epoch's
// opening event is 1, and the events after the epoch's base follow in order, without those set aside. So the order of
// the file alone decides every number, and a spool that lost its tail to a power cut does not give a number twice:
// what the server's head covers is done.
//
// # Recovery
//
// [Open] reads every frame. The first bad frame ends its segment: what follows is cut off. In the newest segment that
// is the record that was being written when the process died; in an older one it is damage ([Queue.Damage]), and the
// events missing between it and the next header are gone ([Queue.Missing]).
//
// Then it takes to the newest segment those frames of the tail that are not there yet. A tail that continues what the segment has
// lost to a power cut is damage too: its events go with those before them.
//
// One process at a time may use a spool; the caller holds the lock.
package spool
