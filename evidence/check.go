package evidence

import (
	"fmt"
	"slices"

	"github.com/agentcustody/custody/chain"
)

// Exit codes of a verification. The code of a failure is that of the first class, in this order, in which a check failed.
const (
	ExitVerified   = 0  // every check passed, and nothing is missing
	ExitError      = 1  // the verification could not be carried out
	ExitUsage      = 2  // wrong command line
	ExitOpenTail   = 3  // every check passed, but nothing shows that a producer's numbering began or ended there
	ExitGaps       = 4  // every check passed, but numbers are missing
	ExitNoPolicy   = 5  // intact, but without a policy nobody vouches for it
	ExitContainer  = 10 // the file is not a well-formed bundle
	ExitManifest   = 11 // the files inside are not those listed
	ExitFormat     = 12 // a file inside is not in its format
	ExitPolicy     = 13 // the bundle is of another log than the policy's
	ExitEnvelope   = 14 // the list is not signed by the policy's export key
	ExitCheckpoint = 15 // the log's state is not signed by the policy's log key
	ExitChain      = 16 // records altered, reordered, inserted or dropped in the log
	ExitBoundary   = 17 // the records are not all of the time window, or of the scope
	ExitKeys       = 18 // a key is not admitted, or not at that place
	ExitSignature  = 19 // a producer's signature does not hold
	ExitEvent      = 20 // content of a record is not what was signed
	ExitVerdict    = 21 // the log's own judgement contradicts the records
	ExitOpening    = 22 // disclosed, withheld or erased content is not what it is said to be
	ExitReport     = 23 // an account in the bundle does not match its records
	ExitHistory    = 24 // the log does not continue an earlier state of it
	ExitWitnesses  = 25 // too few of the policy's witnesses confirm the log's state
	ExitTimestamp  = 26 // a time stamp is of something else, or of no authority of the policy
	ExitOmission   = 27 // the log does not hold what its receipts promise
	ExitReceipts   = 28 // a receipt is not one of this log
)

// Names of the checks. They are stable: tests, reports and people refer to them.
const (
	CheckContainer  = "container"
	CheckManifest   = "manifest"
	CheckFormat     = "format"
	CheckPolicy     = "policy"
	CheckEnvelope   = "envelope"
	CheckCheckpoint = "checkpoint"
	CheckWitnesses  = "witnesses"
	CheckTimestamps = "time-stamps"
	CheckAnchors    = "anchors"
	CheckChain      = "chain"
	CheckRange      = "range"
	CheckBoundaries = "boundaries"
	CheckSelection  = "selection"
	CheckGenesis    = "genesis"
	CheckAdmission  = "admission"
	CheckKey        = "key"
	CheckSignature  = "batch-signature"
	CheckBatch      = "batch-content"
	CheckContent    = "event-content"
	CheckEvent      = "event"
	CheckVerdict    = "verdict"
	CheckNumbering  = "numbering"
	CheckTag        = "instance-tag"
	CheckLastSeen   = "last-seen"
	CheckOpening    = "opening"
	CheckErasure    = "erasure"
	CheckRedactions = "redactions"
	CheckEmitters   = "emitters"
	CheckPopulation = "populations"
	CheckControls   = "controls"
	CheckCustody    = "custody"
	CheckHistory    = "consistency"
	CheckOmission   = "omission"
	CheckReceipts   = "receipts"
)

// rule is what is known about a check before it runs.
type rule struct {
	name      string
	exit      int
	broken    bool   // a failure means that the bundle is not intact; otherwise that it is not authentic
	anchored  bool   // it rests on the policy
	what      string // what is checked, for a person
	failure   string // what a failure means
	therefore string // what cannot be concluded then
}

// rules are all checks in the order of verification.
var rules = []rule{
	{
		CheckContainer, ExitContainer, true, false,
		"the file is one well-formed container", "The file is not a well-formed evidence bundle: it was damaged, cut, extended or repacked.",
		"Nothing can be concluded from this file.",
	},
	{
		CheckManifest, ExitManifest, true, false,
		"the files inside are exactly those listed", "A file inside the bundle is not the one that the bundle's own list names.",
		"Nothing can be concluded from the contents: they are not those that were exported.",
	},
	{
		CheckFormat, ExitFormat, true, false,
		"every file inside follows the format", "A file inside the bundle does not follow the format.",
		"What follows the damaged place was not examined.",
	},
	{
		CheckPolicy, ExitPolicy, false, true,
		"the bundle is of the log that the policy names", "The bundle is of another log or another tenant than the policy.",
		"Nothing can be concluded about the tenant that the policy names.",
	},
	{
		CheckEnvelope, ExitEnvelope, false, true,
		"the list is signed with the export key that the policy names", "The list of files is not signed with the export key of the policy.",
		"It cannot be concluded that the operator issued this bundle.",
	},
	{
		CheckCheckpoint, ExitCheckpoint, false, true,
		"the state of the log is signed with the log key that the policy names", "The state of the log is not signed with the log key of the policy.",
		"It cannot be concluded that these records stand in the operator's log.",
	},
	{
		CheckWitnesses, ExitWitnesses, false, true,
		"as many witnesses confirm the state of the log as the policy asks for",
		"The state of the log is not confirmed by as many of the witnesses as the policy asks for.",
		"It cannot be concluded that everybody is shown the same log: the operator may show others another one.",
	},
	{
		CheckTimestamps, ExitTimestamp, false, true,
		"every time stamp is of this log, and of an authority that the policy names", "A time stamp is of something else, or of no authority that the policy names.",
		"It cannot be concluded when this state of the log existed.",
	},
	{
		CheckAnchors, ExitHistory, false, true,
		"every earlier state of the log that is shown is the beginning of this one", "The log has shown an earlier state that this one does not continue: records were changed or removed afterwards.",
		"Neither state can be relied upon. Where both are signed by the log, together they are evidence against whoever keeps it.",
	},
	{
		CheckChain, ExitChain, true, false,
		"each record is linked to the one before it", "A record does not follow the record before it: records were altered, reordered, inserted or removed.",
		"Neither the order nor the presence of the records from there on can be relied upon.",
	},
	{
		CheckRange, ExitChain, true, false,
		"the records are those, and all of those, under the signed state of the log", "The records shown do not add up to the signed state of the log.",
		"It cannot be concluded that the records are those of the log, nor that none was left out.",
	},
	{
		CheckBoundaries, ExitBoundary, false, false,
		"the records cover the whole time window", "The records do not cover the time window that the bundle claims.",
		"It cannot be concluded that every record received in the window is here.",
	},
	{
		CheckSelection, ExitBoundary, false, false,
		"every record of the scope is shown, and none of others", "A record of the producer or task that the bundle is about is hidden among those of others, or one of others is shown.",
		"It cannot be concluded that every record of this producer or task is here.",
	},
	{
		CheckGenesis, ExitKeys, false, true,
		"the log begins with the system key that the policy names", "The log does not begin with the system key of the policy.",
		"No key in this bundle can be relied upon.",
	},
	{
		CheckAdmission, ExitKeys, false, false,
		"records from outside the period stand in the same log and are signed", "A record from outside the period, on which others rest, is not proven to stand in this log.",
		"It cannot be concluded which keys were admitted.",
	},
	{
		CheckKey, ExitKeys, false, false,
		"each signing key was admitted for its producer at that place of the log", "A record was accepted from a key that was not admitted for that producer at that place, or the bundle is signed with an export key that was replaced.",
		"It cannot be concluded that the named producer made this record.",
	},
	{
		CheckSignature, ExitSignature, false, false,
		"each batch is signed by its producer", "The signature of a batch does not hold.",
		"It cannot be concluded that the named producer made these records.",
	},
	{
		CheckBatch, ExitEvent, true, false,
		"each batch holds exactly the records that its producer signed", "The records of a batch are not those that its producer signed.",
		"It cannot be concluded that the producer signed this record in this place.",
	},
	{
		CheckContent, ExitEvent, true, false,
		"the content of each record is what was signed", "The content of a record is not what its producer signed.",
		"Nothing can be concluded from the content of this record.",
	},
	{
		CheckEvent, ExitEvent, true, false,
		"each record is well-formed and of the tenant, producer and kind stated", "A record is not well-formed, or not of the tenant, producer or kind stated.",
		"Nothing can be concluded from the content of this record.",
	},
	{
		CheckVerdict, ExitVerdict, false, false,
		"the log judged each record as its rules demand", "The judgement that the log recorded contradicts the record.",
		"It cannot be concluded that the log was kept by its rules.",
	},
	{
		CheckNumbering, ExitVerdict, false, false,
		"each producer's numbers agree with what the log recorded about them", "A producer's numbers contradict what the log recorded about them.",
		"It cannot be concluded that nothing of this producer is missing or repeated.",
	},
	{
		CheckTag, ExitVerdict, false, false,
		"each record is filed under its own producer", "A record is filed under another producer than the one that signed it.",
		"It cannot be concluded which records belong to this producer.",
	},
	{
		CheckLastSeen, ExitVerdict, false, false,
		"no batch refers to a record that was not there yet", "A batch refers to a record that was not there when it was received, or that was another.",
		"It cannot be concluded when this batch was made.",
	},
	{
		CheckOpening, ExitOpening, true, false,
		"all disclosed content is what was signed", "Disclosed content is not what the producer signed.",
		"Nothing can be concluded from this content.",
	},
	{
		CheckErasure, ExitOpening, false, false,
		"content shown as erased or no longer kept was so by a record in the log",
		"Content is shown as erased or as no longer kept, and no record in the log says so, or one that came while the content was on hold.",
		"It cannot be concluded that this content was erased or had to go; it counts as withheld.",
	},
	{
		CheckRedactions, ExitReport, false, false,
		"all content that is left out is accounted for", "The account of what is left out does not match the records.",
		"It cannot be concluded how much was left out, or why.",
	},
	{
		CheckEmitters, ExitReport, false, false,
		"the account of the producers matches the records", "The account of the producers' numbers does not match the records.",
		"The account in the bundle must not be used; the one in this report was made from the records.",
	},
	{
		CheckPopulation, ExitReport, false, false,
		"the lists for sampling are those that the records give", "A list of actions, approvals, grants, changes, containments or reviews does not match the records.",
		"No sample may be drawn from this list, and no number in it can be relied upon.",
	},
	{
		CheckControls, ExitReport, false, false,
		"what the controls say follows from the records", "What the bundle says about a control does not follow from its records.",
		"No statement about controls in this bundle can be relied upon.",
	},
	{
		CheckCustody, ExitReport, false, true,
		"each step of handling is signed", "The account of who handled the bundle is not signed, or is of another bundle.",
		"It cannot be concluded who exported this bundle, when and why.",
	},
	{
		CheckHistory, ExitHistory, false, false,
		"the log continues every earlier state that is held against it", "The log does not continue an earlier state of it, or the bundle does not show that it does.",
		"It cannot be concluded that the log has one history: records may have been altered or removed since that state.",
	},
}

// receiptRules are the checks of receipts, behind the others. They are of somebody else's files: only if there are any do they run, and they
// say nothing of the bundle.
var receiptRules = []rule{
	{
		CheckOmission, ExitOmission, false, true,
		"the log holds every record that it gave a receipt for, as far as the bundle reaches",
		"The log does not hold records for which its operator gave a signed receipt: they were received, and left out or removed.",
		"It cannot be concluded that everything which was received is here. Receipt and bundle together are evidence against whoever keeps the log.",
	},
	{
		CheckReceipts, ExitReceipts, false, true,
		"every receipt is signed with the system key that the policy names", "A receipt that was given to this program is not one of this log: it is not signed with the log's key, or not for what stands beside it.",
		"Nothing can be concluded from this receipt, for or against the log.",
	},
}

// rulesWith are the rules of a verification with or without receipts.
func rulesWith(receipts bool) []rule {
	if !receipts {
		return rules
	}
	return slices.Concat(rules, receiptRules)
}

// Result of a check.
type Result string

// The results.
const (
	Passed     Result = "passed"
	Failed     Result = "failed"
	NotClaimed Result = "not-claimed" // it rests on a policy, and there is none
	NotRun     Result = "not-run"     // an earlier failure left nothing to examine
)

// Check is one named check and what came of it.
type Check struct {
	Name     string   `json:"name"`
	Result   Result   `json:"result"`
	Examined uint64   `json:"examined"`          // things looked at: files, records, batches or fields
	Failures uint64   `json:"failures"`          // how many were wrong
	Records  []uint64 `json:"records,omitempty"` // leaf indices of the first maxShown
	Detail   string   `json:"detail,omitempty"`  // the first failure, for a person who knows the format
}

// findings collects what the checks find. It is for one goroutine.
type findings struct {
	rules  []rule
	checks map[string]*Check
	passed map[string]Result // what a check is that ran without a failure
}

// newFindings has run no check yet. Without a policy those that rest on one claim nothing when they pass.
func newFindings(rules []rule, policy bool) *findings {
	f := &findings{rules, map[string]*Check{}, map[string]Result{}}
	for _, r := range rules {
		f.checks[r.name] = &Check{Name: r.name, Result: NotRun}
		if f.passed[r.name] = Passed; r.anchored && !policy {
			f.passed[r.name] = NotClaimed
		}
	}
	return f
}

// examine counts things that a check looks at.
func (f *findings) examine(name string, n uint64) { f.checks[name].Examined += n }

// fail records a failure that concerns no single record.
func (f *findings) fail(name string, err error) {
	c := f.checks[name]
	c.Result = Failed
	if c.Failures++; c.Failures == 1 {
		c.Detail = err.Error()
	}
}

// failAt records a failure of one record.
func (f *findings) failAt(name string, index chain.Index, err error) {
	c := f.checks[name]
	if c.Failures > 0 { // only the first is kept: do not format a million
		c.Failures++
	} else {
		f.fail(name, fmt.Errorf("record %d: %w", index, err))
	}
	if len(c.Records) < maxShown && !slices.Contains(c.Records, uint64(index)) {
		c.Records = append(c.Records, uint64(index))
	}
}

// done ends checks that ran to their end.
func (f *findings) done(names ...string) {
	for _, name := range names {
		if c := f.checks[name]; c.Result == NotRun {
			c.Result = f.passed[name]
		}
	}
}

// do records the outcome of a check that is one step, and reports whether it passed.
func (f *findings) do(name string, err error) bool {
	f.examine(name, 1)
	if err != nil {
		f.fail(name, err)
	}
	f.done(name)
	return err == nil
}

func (f *findings) failed(name string) bool { return f.checks[name].Result == Failed }

// list is every check, in the order of verification.
func (f *findings) list() []Check {
	list := make([]Check, len(f.rules))
	for i, r := range f.rules {
		list[i] = *f.checks[r.name]
		slices.Sort(list[i].Records)
	}
	return list
}
