package evidence

// Names of the files of a bundle.
const (
	fileManifest     = "manifest.json"
	fileStatement    = "statement.sigstore.json"
	fileScope        = "scope.json"
	fileCheckpoint   = "log/checkpoint"
	fileTimestamp    = "log/checkpoint.tsr"
	fileAnchors      = "log/anchors.bin"
	fileLeaves       = "log/leaves.bin"
	fileRange        = "log/range.json"
	fileProofs       = "log/consistency/proofs.json"
	fileBatches      = "batches/range.bin"
	fileBefore       = "batches/before.bin"
	fileAfter        = "batches/after.bin"
	fileEvents       = "events/range.bin"
	fileOpenings     = "openings/range.bin"
	fileKeysBefore   = "keys/before.bin"
	fileKeysRange    = "keys/range.bin"
	fileKeysAfter    = "keys/after.bin"
	fileEmitters     = "emitters.json"
	fileRedactions   = "redactions.json"
	fileActions      = "populations/sensitive-actions.csv"
	fileApprovals    = "populations/approvals.csv"
	fileGrants       = "populations/grants.csv"
	fileChanges      = "populations/changes.csv"
	fileContainments = "populations/containments.csv"
	fileReviews      = "populations/reviews.csv"
	fileControls     = "controls.json"
	fileReport       = "report.html"
	fileCustody      = "custody.jsonl"
	fileVerify       = "VERIFY.md"
)

// Media types.
const (
	typeJSON     = "application/json"
	typeRecords  = "application/octet-stream"
	typeMarkdown = "text/markdown"
	typeText     = "text/plain"
	typeCSV      = "text/csv"
	typeHTML     = "text/html"
	typeReply    = "application/timestamp-reply" // RFC 3161 section 3.4
)

// member is one file that a bundle has, in the order of layout.
type member struct {
	name      string
	mediaType string
	limit     uint64 // greatest size in bytes
	listed    bool   // in the manifest
}

// layout is every file of a bundle, all of them present, in their one order.
var layout = []member{
	{fileManifest, typeJSON, maxSmallFile, false},
	{fileStatement, typeSigstore, maxSmallFile, false},
	{fileScope, typeJSON, maxSmallFile, true},
	{fileCheckpoint, typeText, maxSmallFile, true},
	{fileTimestamp, typeReply, maxSmallFile, true},
	{fileAnchors, typeRecords, maxRecordFile, true},
	{fileLeaves, typeRecords, maxRecordFile, true},
	{fileRange, typeJSON, maxSmallFile, true},
	{fileProofs, typeJSON, maxSmallFile, true},
	{fileBatches, typeRecords, maxRecordFile, true},
	{fileBefore, typeRecords, maxRecordFile, true},
	{fileAfter, typeRecords, maxRecordFile, true},
	{fileEvents, typeRecords, maxRecordFile, true},
	{fileOpenings, typeRecords, maxRecordFile, true},
	{fileKeysBefore, typeRecords, maxRecordFile, true},
	{fileKeysRange, typeRecords, maxRecordFile, true},
	{fileKeysAfter, typeRecords, maxRecordFile, true},
	{fileEmitters, typeJSON, maxRecordFile, true},
	{fileRedactions, typeJSON, maxSmallFile, true},
	{fileActions, typeCSV, maxRecordFile, true},
	{fileApprovals, typeCSV, maxRecordFile, true},
	{fileGrants, typeCSV, maxRecordFile, true},
	{fileChanges, typeCSV, maxRecordFile, true},
	{fileContainments, typeCSV, maxRecordFile, true},
	{fileReviews, typeCSV, maxRecordFile, true},
	{fileControls, typeJSON, maxSmallFile, true},
	{fileCustody, "application/jsonl", maxSmallFile, true},
	{fileReport, typeHTML, maxReport, true},
	{fileVerify, typeMarkdown, maxSmallFile, true},
}
