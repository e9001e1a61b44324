package importer

import "time"

// Limits of what is read. They are far above what the published sets hold, and bound what a hostile file can cost.
const (
	// MaxRecord is the size in bytes of one run as JSON. The longest published one is half a mebibyte.
	MaxRecord = 16 << 20
	// MaxMessages is the number of messages in a run. The longest published run has 90.
	MaxMessages = 4096
	// MaxCalls is the number of tool calls in a run; with about five events each it bounds the memory of a run.
	MaxCalls = 4096
	// MaxDuration of a run. Nothing that a benchmark waits for takes longer.
	MaxDuration = 30 * 24 * time.Hour
	// MaxInstances is the number of pipelines in one import: each is an emitter with a key and a connection.
	MaxInstances = 1024
	// maxWindow is the memory that a compressed file may ask for: zstd's own greatest without --long.
	maxWindow = 128 << 20
	// maxID is the length of an id that is taken from a trace as it is; a longer one is hashed.
	maxID = 64
	// minDigested is the length in bytes from which content gets a plain digest: shorter content could be guessed from it.
	minDigested = 64
)

// What is made up for traces, which have no times.
const (
	// firstMade is 1 June 2024, in milliseconds since the Unix epoch: about when the traces were published.
	firstMade = 1717200000000
	// spanMade is the days over which runs are spread, in milliseconds.
	spanMade = 28 * 24 * 3600 * 1000
	// stepMade is the time of one message in a run of unknown duration.
	stepMade = time.Second
)
