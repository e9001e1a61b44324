package evidence

import (
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/timestamp"
)

// Limits of a bundle. A reader checks them before it allocates.
const (
	// maxSmallFile is the size in bytes of a file that is read whole. A checkpoint with 100 cosignatures is under 64 KiB.
	maxSmallFile = 1 << 20
	// maxRecordFile is the size in bytes of a file that is streamed. It keeps sums of sizes and offsets far from overflow.
	maxRecordFile = 1 << 50
	// maxTail is the end of the container: fewer than 40 directory entries of at most 80 bytes, and three records of less than 100.
	maxTail = 4 << 10
	// maxPath is the number of hashes of an inclusion proof: the depth of the largest log.
	maxPath = 63
	// maxReasons is the number of different reasons for which content is withheld: people give them, one for each path.
	maxReasons = 1024
	// maxTombstones is how many tombstones redactions.json lists, the first by leaf: it is read whole. openings/ names them all.
	maxTombstones = 8192
	// maxPolicy is the size in bytes of a policy file: short fields, the witnesses, and the certificates of time-stamp authorities.
	maxPolicy = 256 << 10
	// maxRoots is the number of those certificates.
	maxRoots = 32
	// MaxAnchors is the number of earlier checkpoints in a bundle: one for each minute of a day.
	MaxAnchors = 1440
	// maxAnchorRecord is the size of a record of log/anchors.bin: a note, a time stamp and a proof.
	maxAnchorRecord = 4 + maxSmallFile + 4 + timestamp.MaxResponse + maxPath*chain.HashSize
	// maxText is the length in bytes of a free text of a person, such as the purpose.
	maxText = event.MaxText
	// maxShown is how many records a check names; it counts the others.
	maxShown = 20
	// maxBatchRecord is the size of a record of batches/range.bin: header, statement, signature and every event's hash.
	maxBatchRecord = 8 + 1 + 2 + event.MaxStatement + event.SignatureSize + event.MaxBatchEvents*chain.HashSize
	// maxEventRecord is the size of a record of events/range.bin: a state and an event, or a whole message.
	maxEventRecord = 1 + event.MaxStreamBatch
	// openingHead is what stands before the value in a record of openings/range.bin: index, field, state and salt.
	openingHead = 8 + 2 + 1 + event.SaltSize
	// maxOpeningRecord is the size of a record of openings/range.bin that is read whole. Longer ones hold an object.
	maxOpeningRecord = openingHead + event.MaxSealedInline
	// maxObjectRecord is the size of the others, whose value is read as it is checked.
	maxObjectRecord = openingHead + event.MaxObject
	// maxProvenRecord is the size of a record of keys/ or of a batch beside the range: every event of a batch with its leaf and
	// its proof.
	maxProvenRecord = maxBatchRecord + event.MaxBatchEvents*(4+chain.LeafSize+1+maxPath*chain.HashSize+4) + event.MaxBatch
)

// maxMessage is the number of bytes of one message that are in memory at a time, events and openings together: what a stream
// message can carry, with room for records.
const maxMessage = 2 * event.MaxStreamBatch
