package rules

// Bounds of what is read and kept, each with its reason.
const (
	// MaxSource is the size of a rule file, bytes: a person reads it.
	MaxSource = 1 << 20
	// MaxRules is how many rules one set has: each event of its actions is held to each.
	MaxRules = 1000
	// MaxCondition is the length of a condition, bytes.
	MaxCondition = 4096
	// MaxCost is what one condition may cost to evaluate, in CEL's units: some thousand comparisons.
	MaxCost = 10_000
	// MaxSteps is how many steps a sequence has.
	MaxSteps = 8
	// MaxCount is the largest threshold: so many times are kept for each key.
	MaxCount = 10_000
	// MaxEvidence is how many events a firing names.
	MaxEvidence = 16
)

// Bounds of the state of one tenant. The runs and the instances hold the most: an entry takes some 100 bytes, so both together no more than
// some 300 MB, and the benchmark's 10,000 instances take 50 MB.
const (
	maxRuns = 4096 // runs that are followed at a time

	maxHeldByRuns      = 1 << 21 // entries of all runs together; the oldest run is forgotten
	maxHeldByInstances = 1 << 20 // entries of all instances together

	maxRunEvents    = 1024   // tainted events that a run remembers
	maxRunValues    = 4096   // fingerprints of a run, trusted and untrusted each
	maxRunCalls     = 256    // calls of a run that are not forgotten
	maxTrusted      = 16_384 // values that an instance trusted in earlier runs
	maxMemories     = 65_536 // memory keys
	maxCredentials  = 65_536
	maxKeys         = 16_384 // keys of one rule
	maxBaseline     = 4096   // different values of one baseline's key
	maxDeadlines    = 65_536
	maxWorkflowName = 256
)
