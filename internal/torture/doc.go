// Package torture shows what the system withstands. It holds nothing but tests, and small programs that the
// tests start as processes of their own, so that a kill is a kill.
//
// # The processes
//
// The test binary runs itself again with a role in its environment: one child serves [node.Node] on a data
// folder; others emit through package edge. A recording child writes a line into a file beside its folder
// after every Record that returned and after every Flush that returned. What stands there was promised.
//
// # The invariant
//
// It holds after every fault, whatever it was:
//
//   - check is clean: every column of every row is what the fold of the stored events gives.
//   - Every event under a receipt is in the log exactly once.
//   - Every other recorded event is in the log exactly once, or in a spool, or both while it is on its way.
//   - Every key's batches follow each other without a gap, over all its epochs; none is late, equivocated or
//     malformed.
//   - What one goroutine recorded stands in its order, with nothing missing between.
//
// At the end of each test the emitters flush: everything recorded is in the log, and the spools are empty.
//
// # What cannot be shown by a kill
//
// A killed process leaves its writes in the page cache. So other tests take the power away: they trace the
// system calls of a server (strace), hold every receipt against the sync before it, and cut every file back
// to what was synced; and, as root, they run the system on an ext4 volume in a file, copy that file while its
// cache is dirty, and go on from the copy.
//
// # Running it
//
//	go test ./internal/torture                        fits into CI
//	CUSTODY_TORTURE=long go test -timeout=1h …         more rounds
//	CUSTODY_TORTURE_SEED=… go test …                   the random choices of a run that failed
package torture
