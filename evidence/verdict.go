package evidence

import (
	"encoding/json"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// VerdictVersion is the version of a verdict's JSON.
const VerdictVersion = 1

// The four answers, each on its own. There is no fifth that sums them up.
const (
	Intact        = "intact"    // integrity: the bundle is what was exported, and its parts fit together
	Broken        = "broken"    //   they do not
	Unknown       = "unknown"   //   not everything could be examined
	Authentic     = "authentic" // authenticity: all of it rests on keys of the policy
	NotAuthentic  = "failed"    //   some of it does not
	Complete      = "complete"  // completeness: all that was received in the window, and no producer's numbers are open
	OpenTail      = "open-tail" //   all that was received, but nothing shows that a numbering began or ended there
	Gaps          = "gaps"      //   all that was received, and numbers are missing
	NoClaim       = "not-claimed"
	AnchoredNot   = "none"          // anchoring: nobody but the log's own key says when
	AnchoredByLog = "operator-time" //   the operator's time key says when

	AnchoredByStamp     = "timestamped" // a time-stamp authority of the policy says when
	AnchoredByWitnesses = "witnessed"   // followed by "k of n": so many of the policy's witnesses say that there is one history, and when
)

// Vantage counts the records in the range by who says so.
type Vantage struct {
	SelfReported    uint64 `json:"self_reported"`    // by the agent itself
	GatewayObserved uint64 `json:"gateway_observed"` // from the tool's side
	Imported        uint64 `json:"imported"`         // made elsewhere and brought in
	Custody         uint64 `json:"custody"`          // by Custody about its own acts
	Unattributed    uint64 `json:"unattributed"`     // by nobody who was admitted there
}

// Clock counts what cannot be right about producers' own times.
type Clock struct {
	Ahead  uint64 `json:"ahead"`  // events said to have happened more than 5 minutes after they were received
	Behind uint64 `json:"behind"` // events in batches said to be made more than 5 minutes before a record that they refer to
}

// Suspect is a key whose records, from one place on, may have been made by somebody else.
type Suspect struct {
	KeyID    signer.KeyID `json:"key_id"`
	Instance string       `json:"instance"`
	From     uint64       `json:"from"` // first record of the range in doubt
	To       uint64       `json:"to"`   // last
}

// Handling is one signed step of who handled the bundle.
type Handling struct {
	At      Instant    `json:"at"`
	Actor   string     `json:"actor"`
	Action  string     `json:"action"`
	Purpose string     `json:"purpose"`
	Tool    string     `json:"tool"`
	Digest  chain.Hash `json:"tool_sha256"`
}

// Verdict is what a verification found.
type Verdict struct {
	Version      int               `json:"version"` // VerdictVersion
	Exit         int               `json:"exit"`    // Exit…
	Integrity    string            `json:"integrity"`
	Authenticity string            `json:"authenticity"`
	Completeness string            `json:"completeness"`
	Selection    *Selection        `json:"selection,omitempty"` // what completeness rests on, if the scope is not the whole tenant
	Anchoring    string            `json:"anchoring"`
	AnchoredAt   int64             `json:"anchored_at,omitempty"` // seconds since 1970 of the newest statement of time
	Witnesses    *Witnessing       `json:"witnesses,omitempty"`   // nil if the policy names none
	TimeStamps   []TimeStamp       `json:"time_stamps"`           // of the state of the log, and of the export
	When         []When            `json:"when,omitempty"`        // the events that were asked about
	Policy       string            `json:"policy,omitempty"`      // fingerprint of the policy
	Manifest     chain.Hash        `json:"manifest_sha256"`
	Scope        *Scope            `json:"scope"` // nil if it could not be read
	Root         chain.Hash        `json:"root"`  // of the log under the checkpoint
	Records      Disclosure        `json:"records"`
	Redactions   []Reason          `json:"redactions"`
	Verdicts     map[string]uint64 `json:"verdicts"` // records by the log's judgement
	Vantage      Vantage           `json:"vantage"`
	Clock        Clock             `json:"clock"`
	Arrivals     *Arrivals         `json:"arrivals,omitempty"` // with a grace period
	EndOfLog     bool              `json:"end_of_log"`         // the range ends where the checkpoint does: nothing shows what came next
	Emitters     []Emitter         `json:"emitters"`
	SilentKeys   int               `json:"silent_keys"` // keys that could have signed in the range and did not
	Suspects     []Suspect         `json:"suspects"`
	Populations  map[string]uint64 `json:"populations"` // rows of each list, by its file
	Controls     Controls          `json:"controls"`    // of this bundle's mapping
	Custody      []Handling        `json:"custody"`
	History      []History         `json:"history,omitempty"`  // states of the log that it was held against
	Receipts     *Receipts         `json:"receipts,omitempty"` // what came of the receipts that it was held to
	Checks       []Check           `json:"checks"`
}

// JSON returns the verdict as indented JSON.
func (v *Verdict) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode verdict: %w", err)
	}
	return append(b, '\n'), nil
}

// Check returns a check by its name.
func (v *Verdict) Check(name string) Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{Name: name, Result: NotRun}
}

// verdict sums up the findings.
func (v *verification) verdict() Verdict {
	out := Verdict{
		Version: VerdictVersion, Integrity: v.integrity(), Authenticity: v.authenticity(), Anchoring: AnchoredNot,
		Manifest: v.digest, Scope: v.scope, Root: v.head.Root, Records: v.count, Verdicts: map[string]uint64{}, Vantage: v.vantage,
		Clock: v.clock, Emitters: v.emitters, Checks: v.list(), Redactions: []Reason{}, Suspects: []Suspect{}, Custody: []Handling{},
		Populations: map[string]uint64{}, Controls: v.controls,
	}
	if v.scope != nil {
		if v.scope.Grace > 0 {
			out.Arrivals = &v.arrivals
		}
		out.EndOfLog = v.scope.atEndOfLog()
		out.SilentKeys = v.silent()
		out.Suspects = append(out.Suspects, v.suspects()...)
	}
	out.Selection = v.selection()
	out.Completeness = v.completeness(&out)
	out.Exit = v.exit(&out)
	v.describe(&out)
	return out
}

// describe adds what decides nothing.
func (v *verification) describe(out *Verdict) {
	if out.Emitters == nil {
		out.Emitters = []Emitter{}
	}
	for i, n := range v.verdicts {
		if n > 0 {
			out.Verdicts[chain.Verdict(i).String()] = n
		}
	}
	out.History, out.Receipts = v.history, v.receipts
	if v.reasons != nil {
		out.Redactions = append(out.Redactions, v.reasons.list...)
	}
	for _, h := range v.handlings {
		out.Custody = append(out.Custody, Handling{h.At, h.Actor, h.Action, h.Purpose, h.Tool, h.Digest})
	}
	v.anchoring(out)
	out.When = v.when()
	if v.derived != nil {
		out.Populations = v.derived.counts()
	}
	if v.policy != nil {
		if list, err := v.policy.Fingerprints(); err == nil {
			out.Policy = list[0].Text
		}
	}
}

func (v *verification) integrity() string {
	answer := Intact
	for _, r := range rules {
		switch result := v.checks[r.name].Result; {
		case r.broken && result == Failed:
			return Broken
		case r.broken && result == NotRun:
			answer = Unknown
		}
	}
	return answer
}

// authenticity is claimed only if every check passed: what does not hold together is nobody's.
func (v *verification) authenticity() string {
	answer := Authentic
	for _, r := range rules {
		switch v.checks[r.name].Result {
		case Failed:
			return NotAuthentic
		case NotRun, NotClaimed:
			answer = NoClaim
		case Passed:
		}
	}
	return answer
}

// completeness is claimed only for what is authentic.
func (v *verification) completeness(out *Verdict) string {
	if out.Authenticity != Authentic || v.promised != nil && v.failed(CheckOmission) {
		return NoClaim
	}
	if out.Selection != nil {
		return out.Selection.completeness(out)
	}
	return out.numbersSay()
}

// numbersSay is the completeness of all that the emitters in the range have numbered, if all else holds.
func (v *Verdict) numbersSay() string {
	answer := Complete
	if v.EndOfLog {
		answer = OpenTail
	}
	for i := range v.Emitters {
		switch e := &v.Emitters[i]; {
		case e.gaps():
			return Gaps
		case e.open():
			answer = OpenTail
		}
	}
	return answer
}

func (v *verification) exit(out *Verdict) int {
	for _, r := range v.rules {
		if v.failed(r.name) {
			return r.exit
		}
	}
	switch {
	case out.Authenticity != Authentic:
		return ExitNoPolicy
	case out.Completeness == Gaps:
		return ExitGaps
	case out.Completeness == OpenTail:
		return ExitOpenTail
	}
	return ExitVerified
}
