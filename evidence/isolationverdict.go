package evidence

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// Names of the checks of a statement of isolation that a bundle does not have.
const (
	CheckBundle      = "bundle"
	CheckConnections = "connections"
)

// isolationRules are the checks of a statement of isolation in the order of verification.
var isolationRules = []rule{
	{
		CheckFormat, ExitFormat, true, false,
		"the statement follows its format, and its first line is that of its list", "The statement does not follow the format, or its first line says something else than its list.",
		"Nothing can be concluded from this file.",
	},
	{
		CheckPolicy, ExitPolicy, false, true,
		"the statement is about the log that the policy names", "The statement is about another log or another tenant than the policy.",
		"Nothing can be concluded about the tenant that the policy names.",
	},
	{
		CheckEnvelope, ExitEnvelope, false, true,
		"the statement is signed with the export key that the policy names", "The statement is not signed with the export key of the policy.",
		"It cannot be concluded that the operator issued this statement.",
	},
	{
		CheckCheckpoint, ExitCheckpoint, false, true,
		"the state of the log is signed with the log key that the policy names", "The state of the log is not signed with the log key of the policy.",
		"It cannot be concluded which records the statement is about.",
	},
	{
		CheckWitnesses, ExitWitnesses, false, true,
		"as many witnesses confirm the state of the log as the policy asks for",
		"The state of the log is not confirmed by as many of the witnesses as the policy asks for.",
		"It cannot be concluded that the records compared are those that everybody is shown.",
	},
	{
		CheckRange, ExitChain, true, false,
		"the records at both ends of the period stand in the log, in their places", "A record at an end of the period is not proven to stand in the log in its place.",
		"It cannot be concluded which records the statement is about.",
	},
	{
		CheckBoundaries, ExitBoundary, false, false,
		"the records compared are those of the whole period", "The records compared are not those of the period that the statement claims.",
		"It cannot be concluded that every record received in the period was compared.",
	},
	{
		CheckBundle, ExitReport, false, true,
		"the bundle beside it verifies, and has the records that were compared", "The bundle beside the statement does not verify, or has other records than were compared.",
		"The statement could not be held to the tenant's records.",
	},
	{
		CheckConnections, ExitReport, false, false,
		"each connection is the one that the tenant's records have", "A connection is not what the tenant's records say.",
		"The list of connections cannot be relied upon.",
	},
}

// IsolationVerdict is what the verification of a statement of isolation found.
type IsolationVerdict struct {
	Version      int        `json:"version"` // VerdictVersion
	Exit         int        `json:"exit"`    // Exit…
	Authenticity string     `json:"authenticity"`
	Policy       string     `json:"policy,omitempty"` // fingerprint of the policy
	Statement    *Isolation `json:"statement"`        // nil if it could not be read
	Bundle       *Verdict   `json:"bundle,omitempty"` // of the bundle beside it
	Checks       []Check    `json:"checks"`
}

// Beside is a bundle of the same period, which lets a statement of isolation be held to the tenant's records.
type Beside struct {
	Bundle io.ReaderAt
	Size   int64
}

// VerifyIsolation checks a statement of isolation against a policy, offline; and, if beside is not nil, against the bundle of the same
// period. Whatever is wrong stands in the verdict; an error says that the bundle could not be read or the context has ended.
func VerifyIsolation(ctx context.Context, file []byte, policy *Policy, beside *Beside, o VerifyOptions) (IsolationVerdict, error) {
	v := &isolationCheck{policy: policy, findings: newFindings(isolationRules, policy != nil)}
	if err := v.run(ctx, file, beside, o); err != nil {
		return IsolationVerdict{}, fmt.Errorf("verify statement of isolation: %w", err)
	}
	return v.verdict(), nil
}

// isolationCheck is one statement under examination.
type isolationCheck struct {
	policy *Policy
	*findings
	said   *Isolation
	bundle *Verdict
}

func (v *isolationCheck) run(ctx context.Context, file []byte, beside *Beside, o VerifyOptions) error {
	said, envelope, err := parseIsolation(file)
	if !v.do(CheckFormat, err) {
		return nil
	}
	v.said = said
	v.signed(envelope)
	v.located()
	if beside == nil {
		return nil
	}
	return v.compare(ctx, beside, o)
}

// signed checks what rests on the policy.
func (v *isolationCheck) signed(e *envelope) {
	var key *signer.ExportKey
	var wrong error
	if v.policy != nil {
		key = &v.policy.ExportKey
		if v.policy.Tenant != v.said.Scope.Tenant || v.policy.Origin != v.said.Scope.Origin {
			wrong = fmt.Errorf("statement about %q, policy of %q", v.said.Scope.Origin, v.policy.Origin)
		}
	}
	v.do(CheckPolicy, wrong)
	v.do(CheckEnvelope, e.check(PayloadTypeIsolation, *e.Signatures[0].KeyID, key))
}

// located checks that the records compared are all of the period.
func (v *isolationCheck) located() {
	s := &v.said.Scope
	head, err := readHead([]byte(v.said.Checkpoint))
	if err == nil && (head.Origin != s.Origin || head.Size != s.Size) {
		err = fmt.Errorf("checkpoint of %q with %d leaves: %w", head.Origin, head.Size, chain.ErrCheckpoint)
	}
	var signed signer.SignedCheckpoint
	if err == nil && v.policy != nil {
		cosigners, _ := v.policy.cosigners()
		signed, err = signer.OpenCheckpoint([]byte(v.said.Checkpoint), s.Origin, v.policy.logKey(), cosigners...)
	}
	if !v.do(CheckCheckpoint, err) {
		return
	}
	v.confirmed(signed.Cosignatures)
	for i, index := range s.boundIndices() {
		v.bound(index, &v.said.Bounds[i], head)
	}
	v.done(CheckRange, CheckBoundaries)
}

// confirmed holds the cosignatures of the checkpoint to the policy's quorum, as for a bundle.
func (v *isolationCheck) confirmed(list []signer.Cosignature) {
	if v.policy != nil {
		quorum, err := v.policy.quorum()
		if err != nil {
			v.fail(CheckWitnesses, err)
		} else if quorum != nil {
			w := witnessing(quorum, list)
			if v.examine(CheckWitnesses, uint64(w.Known)); !w.Met {
				v.fail(CheckWitnesses, fmt.Errorf("%w: %d of %d", errQuorum, w.Confirmed, w.Known))
			}
		}
	}
	v.done(CheckWitnesses)
}

// bound checks one leaf beside an end of the range.
func (v *isolationCheck) bound(index chain.Index, b *ProvenLeaf, head chain.Checkpoint) {
	s := &v.said.Scope
	v.examine(CheckRange, 1)
	leaf, err := chain.ParseLeaf(b.Leaf)
	if err == nil && (leaf.Index != index || leaf.Origin != chain.OriginHash(s.Origin)) {
		err = errLeafBatch
	}
	if err == nil {
		err = chain.VerifyInclusion(b.Path, index, head.Size, chain.LeafHash(b.Leaf), head.Root)
	}
	if err != nil {
		v.failAt(CheckRange, index, err)
		return
	}
	v.examine(CheckBoundaries, 1)
	received, after := Instant(leaf.Time), index >= s.End
	if index < s.Begin && received >= s.From || index >= s.Begin && received < s.From || after != (received >= s.To) {
		v.failAt(CheckBoundaries, index, fmt.Errorf("received %s, on the wrong side of %s or %s", received, s.From, s.To))
	}
}

var errOtherRecords = errors.New("the bundle has other records than were compared")

// compare holds the list to the tenant's records.
func (v *isolationCheck) compare(ctx context.Context, beside *Beside, o VerifyOptions) error {
	seen := newSightings(v.said)
	o.watch = seen.watch
	bundle, err := Verify(ctx, beside.Bundle, beside.Size, v.policy, o)
	if err != nil {
		return err
	}
	v.bundle = &bundle
	b, s := bundle.Scope, &v.said.Scope
	switch {
	case bundle.Exit >= ExitContainer:
		err = fmt.Errorf("the bundle does not verify: exit code %d", bundle.Exit)
	case b.Origin != s.Origin || b.Begin != s.Begin || b.End != s.End:
		err = errOtherRecords
	default:
		if err = v.sameLeaves(beside, b); err != nil && !errors.Is(err, errOtherRecords) {
			return err
		}
	}
	if !v.do(CheckBundle, err) {
		return nil
	}
	for i := range v.said.Connections {
		v.examine(CheckConnections, 1)
		if err := seen.agrees(&v.said.Connections[i]); err != nil {
			v.failAt(CheckConnections, chain.Index(v.said.Connections[i].First), err)
		}
	}
	v.done(CheckConnections)
	return nil
}

// sameLeaves compares the leaves at the ends of the period with those of a bundle that verifies: each holds all before it, so that both are of one
// history. The error is errOtherRecords, or that of the file.
func (v *isolationCheck) sameLeaves(beside *Beside, b *Scope) error {
	c, err := openContainer(beside.Bundle, beside.Size)
	if err != nil {
		return err
	}
	shown := make([]byte, chain.LeafSize)
	for i, index := range v.said.Scope.boundIndices() {
		if index >= b.shownEnd() {
			continue // the bundle is of a state that ends there
		}
		if err := readAt(c.open(fileLeaves), shown, int64(index-b.shownBegin())*chain.LeafSize); err != nil {
			return err
		}
		if !bytes.Equal(shown, v.said.Bounds[i].Leaf) {
			return fmt.Errorf("record %d: %w", index, errOtherRecords)
		}
	}
	return nil
}

// sightings counts where the values of a statement occur in the tenant's records.
type sightings struct{ values map[sighting]*Connection }

type sighting struct{ kind, value string }

func newSightings(i *Isolation) *sightings {
	s := &sightings{map[sighting]*Connection{}}
	for _, c := range i.Connections {
		s.values[sighting{c.Kind, c.Value}] = &Connection{}
	}
	return s
}

func (s *sightings) watch(index chain.Index, e *eventv1.Event) {
	if len(s.values) == 0 {
		return
	}
	d, id := e.GetData(), e.GetIdentity().GetCredential()
	s.see(index, "credential", hex.EncodeToString(id.GetFingerprint()))
	s.see(index, "connector", id.GetConnector()+e.GetExecution().GetConnector())
	s.see(index, "memory", d.GetMemoryKey())
	s.see(index, "artefact", hex.EncodeToString(d.GetContentDigest()))
	s.see(index, "effect", event.ID(e.GetId()).String())
	if len(e.GetCauses()) > 0 {
		s.see(index, "cause", event.ID(e.GetId()).String())
	}
}

func (s *sightings) see(index chain.Index, kind, value string) {
	c := s.values[sighting{kind, value}]
	if c == nil {
		return
	}
	if c.Records == 0 {
		c.First = uint64(index)
	}
	c.Records++
	c.Last = uint64(index)
}

// agrees holds a connection to the records. Of causes and effects the first record counts: what names them is one.
func (s *sightings) agrees(c *Connection) error {
	got := s.values[sighting{c.Kind, c.Value}]
	single := c.Kind == "cause" || c.Kind == "effect"
	if got.Records == 0 || got.First != c.First || !single && (got.Records != c.Records || got.Last != c.Last) {
		return fmt.Errorf("%s: %d records from %d to %d, stated %d from %d to %d", c.Kind, got.Records, got.First, got.Last, c.Records, c.First, c.Last)
	}
	return nil
}

func (v *isolationCheck) verdict() IsolationVerdict {
	out := IsolationVerdict{Version: VerdictVersion, Authenticity: Authentic, Statement: v.said, Bundle: v.bundle, Checks: v.list()}
	if v.policy == nil || v.said == nil {
		out.Authenticity = NoClaim
	}
	if v.policy != nil {
		if list, err := v.policy.Fingerprints(); err == nil {
			out.Policy = list[0].Text
		}
	}
	for _, r := range isolationRules {
		if v.failed(r.name) {
			out.Authenticity, out.Exit = NotAuthentic, r.exit
			return out
		}
	}
	switch {
	case out.Authenticity != Authentic:
		out.Exit = ExitNoPolicy
	case v.said.Scope.atEndOfLog():
		out.Exit = ExitOpenTail
	}
	return out
}

// JSON returns the verdict as indented JSON.
func (v *IsolationVerdict) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode verdict: %w", err)
	}
	return append(b, '\n'), nil
}

// Text says the verdict to a person. Its first line is that of the statement, if the statement is the operator's.
func (v *IsolationVerdict) Text() string {
	var p page
	switch i := v.Statement; {
	case i == nil:
		p.line("This file is no statement of isolation that can be read.")
	case v.Exit >= ExitContainer:
		p.line("This statement does not verify: see below. What it says must not be used.")
	default:
		p.line("%s", i.Says)
	}
	if v.Statement != nil {
		v.heading(&p)
		v.connections(&p)
	}
	p.failures(isolationRules, v.Checks)
	v.limits(&p)
	p.checks(isolationRules, v.Checks, v.Exit)
	return p.String()
}

func (v *IsolationVerdict) heading(p *page) {
	s := &v.Statement.Scope
	p.section("STATEMENT OF ISOLATION")
	p.row("tenant", "%s", event.Escape(s.Tenant))
	p.row("log", "%s", event.Escape(s.Origin))
	p.row("received", "from %s", instantText(s.From))
	p.row("", "until %s (not included)", instantText(s.To))
	p.row("compared", "%s", count(s.records(), "record", "records"))
	if v.Statement.Unseen > 0 {
		p.row("", "%s could not be compared: what they say is closed or no longer kept", count(v.Statement.Unseen, "of them", "of them"))
	}
	p.row("made", "%s for %s", instantText(v.Statement.MadeAt), quoted(s.Requester))
	p.row("purpose", "%s", quoted(s.Purpose))
	if v.Policy != "" {
		p.row("policy", "compare by telephone: %s", v.Policy)
	}
}

func (v *IsolationVerdict) connections(p *page) {
	i := v.Statement
	p.section("RECORDED CONNECTIONS WITH OTHER TENANTS")
	if len(i.Connections) == 0 {
		p.item("none")
	}
	for k := range i.Connections {
		c := &i.Connections[k]
		p.item("%s %s, with %s: %s, from record %d to %d", connectionKinds[kindPlace(c.Kind)].what, quoted(c.Value), c.With,
			count(c.Records, "record", "records"), c.First, c.Last)
		p.item("  %s", c.exception(i.Scope.To))
	}
}

// exception says whether a person has allowed the connection.
func (c *Connection) exception(to Instant) string {
	if c.Review == nil {
		return "nobody has reviewed it"
	}
	r := c.Review
	words := fmt.Sprintf("%s by %s on %s (record %d)", map[string]string{
		"approved": "an exception, approved", "rejected": "refused", "changes": "changes were asked for",
	}[r.Outcome], quoted(r.Reviewer), instantText(r.At), r.Record)
	if r.Until > 0 {
		words += ", until " + instantText(r.Until)
	}
	if r.Outcome == "approved" && !c.reviewed(to) {
		words += ": it had ended before the period did"
	}
	if r.Reason != "" {
		words += "; reason: " + quoted(r.Reason)
	}
	return words
}

func (v *IsolationVerdict) limits(p *page) {
	p.section("WHAT THIS DOES NOT SHOW")
	p.item("That nothing else was shared. Only what the tenants' records name can be compared; what no agent recorded is not here.")
	p.item("That the records of the other tenants were searched: for that the operator vouches with its signature.")
	p.item("Who the other tenants are. Their labels are made for this statement alone.")
	if v.Statement != nil && v.Statement.Scope.atEndOfLog() {
		p.item("What was received in the period after the last record that was compared: the log that was searched ends there.")
	}
	if v.Bundle == nil {
		p.item("That the tenant's own records say so. With --bundle and the bundle of the same period the statement is held to them.")
	}
}
