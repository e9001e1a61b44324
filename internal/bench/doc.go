// Command bench measures Custody against what the parts under it can do on the same machine, in the same run.
//
//	make bench                                       everything, medians of five
//	make bench BENCH_FLAGS='-short'                  two minutes
//	make bench BENCH_FLAGS='-only burst,sustained'   some of it
//
// # What is measured
//
//	limits     fsync of 100 KiB, SHA-256, Ed25519; JetStream with SyncAlways, 256 events a message, one producer, one publish
//	           in flight; the ClickHouse engine taking the same rows in its own format
//	burst      16 SDK emitters as fast as they can, from Record to the receipt, which means: fsynced
//	sustained  the highest rate at which an event is a row that a query finds within two seconds
//	latency    Record to receipt at half of the sustained rate
//	check      custody check: every event read and derived again
//	export     a bundle of a whole log of full batches, everything disclosed, through the server
//	verify     custody-verify on that bundle: a core's rate, and memory
//	size       the table of events after its merges, against the bytes of the events
//	start      from exec to the first receipt, on the store that sustained has left
//	rules      events a second of a core through all rules that come with Custody, their state, and their start
//	stop       from the receipt of the event that fires a live rule to the moment when the gate has cancelled what the run does, beside a
//	           thousand instances, each with its gate connected, that work at ten thousand events a second; the agents that are stopped
//	           are a process of their own
//
// The events are about 400 bytes with two sealed fields and three fingerprints, as package workload makes them; secret scanning
// is on. The server is a process of its own, started as `custody serve`; the emitters are in this one, on the same machine.
//
// # Bounds
//
// A bound is on the ratio to a limit wherever there is one: absolute figures say more about the machine. Each round measures its
// limits right before what they bind, the ratio is that of the round, and the result is the median of the rounds. A bound that
// is missed is printed as NOT MET, and so is one that could not be measured; the exit code is then 1.
package main
