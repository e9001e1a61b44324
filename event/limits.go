package event

import "time"

// Limits of one event. A parser checks them before it allocates.
const (
	// MaxEvent is the size of an event in bytes. Content is sealed and travels beside the event, so plain fields stay
	// small; the limit also bounds what decoding hostile bytes can allocate (about 2 MiB).
	MaxEvent = 64 << 10
	// MaxName is the length of a tenant or an instance: a DNS label, so that names fit subjects, hosts and file names.
	MaxName = 63
	// MaxID is the length in bytes of runs, principals, calls, subjects and other ids made elsewhere: room for a URI.
	MaxID = 256
	// MaxText is the length in bytes of a plain text field; tool names are sometimes whole sentences.
	MaxText = 4096
	// MaxCauses is more than a model can name, and keeps the search for repeated causes cheap.
	MaxCauses = 64
	// MaxSealed is the number of sealed fields: the arguments of one call, never a whole conversation.
	MaxSealed = 64
	// MaxFingerprints keeps fingerprints under an eighth of an event.
	MaxFingerprints = 256
	// MaxFingerprintsPerValue leaves room for a second sealed field beside a long document.
	MaxFingerprintsPerValue = 128
	// MaxDelegation is the depth of the delegation chain.
	MaxDelegation = 16
	// MaxScopes is the number of scopes of a credential.
	MaxScopes = 64
	// MaxChecks is the number of ways of stopping something in one event, tried or used: with their evidence they fit an event.
	MaxChecks = 128
	// MaxLeaseExtension is how long gates may act without a renewal while a server restarts: no longer than a person waits.
	MaxLeaseExtension = 5 * time.Minute
	// MaxRegulation is the number of regulations in an instance's labels.
	MaxRegulation = 16
	// MaxPermissions is the number of entries in a manifest; with MaxEvent it bounds the work of a policy look-up.
	MaxPermissions = 1024
	// MaxScore is a detector's certainty: thousandths.
	MaxScore = 1000
	// MaxCounter bounds sequence numbers, indices and sizes so that adding to them never overflows.
	MaxCounter = 1 << 62
)

// Limits of one batch.
const (
	// MaxBatchEvents is the number of events under one signature.
	MaxBatchEvents = 1024
	// MaxBatch is the size in bytes of a signed batch with its openings.
	MaxBatch = 1 << 20
	// MaxStatement is the size of a batch statement: its fields at full length take 408 bytes.
	MaxStatement = 1024
	// MaxSealedInline is the size of a sealed value that travels in a batch.
	MaxSealedInline = 64 << 10
	// MaxObject is the size of a sealed value that travels as an object: arguments and results of ten megabytes occur, and
	// whoever checks one holds it in memory.
	MaxObject = 16 << 20
	// MaxBatchObjects is the size of all objects of a batch together. It bounds what ingest stores before the batch that
	// names it has come.
	MaxBatchObjects = 64 << 20
	// MaxOpenings is the number of openings in a batch: four for each event at the most crowded.
	MaxOpenings = 4096
	// MaxStreamBatch is the size of a stream message: a batch of MaxBatch plus what encryption adds to MaxOpenings
	// openings (nonce, tag, subject of MaxID) and MaxBatchEvents held events, rounded up. The bus must carry it.
	MaxStreamBatch = 4 << 20
)

// Sizes of fixed fields, in bytes.
const (
	DigestSize      = 32 // SHA-256
	IDSize          = 16 // UUIDv7
	EpochSize       = 16 // random
	SaltSize        = 32 // of a sealed field or an instance
	PublicKeySize   = 32 // Ed25519
	ExportKeySize   = 91 // SubjectPublicKeyInfo of a key on P-256: the other form of an export key
	SignatureSize   = 64 // Ed25519
	FingerprintSize = 8  // truncated HMAC-SHA-256
	sealOverhead    = 28 // AES-256-GCM: nonce of 12 and tag of 16
)

// Reserved names.
const (
	// TenantOperator is the operator's own log.
	TenantOperator TenantID = "operator"
	// InstanceCustody is Custody's own emitter in every tenant.
	InstanceCustody InstanceID = "custody"
)
