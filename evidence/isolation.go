package evidence

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
)

// A statement of isolation lists every recorded connection of one tenant with others in one window of time: a credential, connector,
// memory key or artefact that records of both name, and causes across. It is one file: a sentence that sums it up, an empty line, and a DSSE
// envelope, by the export key, around the list. The list says which records of the tenant's log it is about, with the
// signed state of that log and proofs for the leaves on both sides of both ends.
//
// Of other tenants it holds labels only: an HMAC of the name under a key that is drawn for the statement and then forgotten. Two statements
// cannot be joined by their labels.
//
// What it can show is limited by what is recorded, and by whom: that the other logs were searched is the operator's word.

// PayloadTypeIsolation is the DSSE payload type of a statement of isolation.
const PayloadTypeIsolation = "application/vnd.custody.isolation.v1+json"

// IsolationVersion is the only version of a statement of isolation.
const IsolationVersion = 1

const (
	// MaxIsolation is the size in bytes of a statement: a list that a person can still have read to them.
	MaxIsolation = 16 << 20
	// maxConnections is the number of connections in a statement.
	maxConnections = 1 << 16
	// labelDomain separates labels from other uses of HMAC.
	labelDomain = "custody/isolation/v1\x00"
	// labelSize is the length in bytes of a label's digest: enough to tell a million tenants apart.
	labelSize = 8
)

// ErrIsolation says that a statement of isolation is not in its format or contradicts itself.
var ErrIsolation = errors.New("malformed statement of isolation")

// Isolation is what a statement of isolation says.
type Isolation struct {
	Version     int          `json:"version"` // IsolationVersion
	Says        string       `json:"says"`    // the first line of the file
	MadeAt      Instant      `json:"made_at"` // the operator's clock
	Scope       Scope        `json:"scope"`   // the tenant's records that were compared
	Unseen      uint64       `json:"unseen"`  // of those, records whose plain content Custody does not have
	Checkpoint  string       `json:"checkpoint"`
	Bounds      []ProvenLeaf `json:"bounds"`      // leaves begin − 1, begin, end − 1 and end, once each, where the log has them
	Connections []Connection `json:"connections"` // by kind, value and label
}

// ProvenLeaf is a leaf with its RFC 6962 inclusion proof in the tree of the checkpoint.
type ProvenLeaf struct {
	Leaf []byte       `json:"leaf"`
	Path []chain.Hash `json:"path"`
}

// Connection is one recorded connection with another tenant.
type Connection struct {
	Kind    string  `json:"kind"`  // "credential", "connector", "memory", "artefact", "cause" or "effect"
	Value   string  `json:"value"` // as the tenant's own records have it; of a cause or an effect the id of the tenant's own event
	With    string  `json:"with"`  // label of the other tenant, "tenant-0123456789abcdef"
	Records uint64  `json:"records"`
	First   uint64  `json:"first"`
	Last    uint64  `json:"last"`
	Review  *Review `json:"review,omitempty"` // the latest in the tenant's log before the end of the range
}

// Review is a person's decision on sharing something.
type Review struct {
	Record   uint64  `json:"record"` // its place in the log
	At       Instant `json:"at"`     // received
	Reviewer string  `json:"reviewer"`
	Outcome  string  `json:"outcome"` // "approved", "rejected" or "changes"
	Until    Instant `json:"until"`   // 1970 if no end is stated
	Reason   string  `json:"reason"`
}

// connectionKinds are the kinds of connections, in their order, and what they are to a person.
var connectionKinds = []struct{ kind, what string }{
	{"credential", "the same credential"},
	{"connector", "the same connector"},
	{"memory", "the same memory"},
	{"artefact", "the same content"},
	{"cause", "caused by an event of the other"},
	{"effect", "caused an event of the other"},
}

func kindPlace(kind string) int {
	return slices.IndexFunc(connectionKinds, func(k struct{ kind, what string }) bool { return k.kind == kind })
}

// reviewed reports whether the connection is under an exception that a person allowed and that had not ended when the range did.
func (c *Connection) reviewed(to Instant) bool {
	return c.Review != nil && c.Review.Outcome == "approved" && (c.Review.Until == 0 || c.Review.Until >= to)
}

// sentence is the first line: how many connections, never that there is no influence.
func (i *Isolation) sentence() string {
	n, allowed := len(i.Connections), 0
	for k := range i.Connections {
		if i.Connections[k].reviewed(i.Scope.To) {
			allowed++
		}
	}
	period := fmt.Sprintf("received from %s until %s", instantText(i.Scope.From), instantText(i.Scope.To))
	if n == 0 {
		return fmt.Sprintf("No recorded sharing: no record of %s %s is connected with a record of another tenant.", i.Scope.Tenant, period)
	}
	return fmt.Sprintf("%s of %s %s with other tenants; %d of them under a reviewed exception.",
		count(uint64(n), "recorded connection", "recorded connections"), i.Scope.Tenant, period, allowed)
}

// Labels blinds the names of other tenants for one statement. The key is drawn here and goes nowhere.
func Labels() (label func(tenant string) string) {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // it never fails
	return func(tenant string) string {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(labelDomain + tenant))
		return fmt.Sprintf("tenant-%x", mac.Sum(nil)[:labelSize])
	}
}

// StateIsolation makes a statement about what the log received in [scope.From, scope.To), signed with key. Of the scope it takes what Export
// does. find lists the connections of the leaves [begin, end), whose names of tenants are blinded already, and counts the leaves whose
// content it does not have.
func StateIsolation(ctx context.Context, r Reader, scope Scope, key signer.Exporter, find func(begin, end chain.Index) ([]Connection, uint64, error)) ([]byte, error) {
	x := &export{reader: r, nodes: newNodeCache(r), scope: scope}
	i, err := x.isolation(ctx, find)
	if err != nil {
		return nil, fmt.Errorf("state isolation of %s: %w", scope.Tenant, err)
	}
	payload, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encode statement of isolation: %w", err)
	}
	return sealIsolation(key, i.Says, payload)
}

// sealIsolation is the file of a payload.
func sealIsolation(key signer.Exporter, says string, payload []byte) ([]byte, error) {
	e, err := sealEnvelope(key, PayloadTypeIsolation, payload)
	if err != nil {
		return nil, err
	}
	id := key.ID()
	e.Signatures[0].KeyID = &id
	file, err := marshalJSON(e)
	return append([]byte(says+"\n\n"), file...), err
}

func (x *export) isolation(ctx context.Context, find func(begin, end chain.Index) ([]Connection, uint64, error)) (*Isolation, error) {
	note, err := x.place(ctx)
	if err != nil {
		return nil, err
	}
	i := &Isolation{Version: IsolationVersion, MadeAt: x.scope.ExportedAt, Scope: x.scope, Checkpoint: string(note), Connections: []Connection{}}
	if i.Bounds, err = x.bounds(ctx); err != nil {
		return nil, err
	}
	list, unseen, err := find(x.scope.Begin, x.scope.End)
	if err != nil {
		return nil, err
	}
	i.Unseen, i.Connections = unseen, append(i.Connections, list...)
	slices.SortFunc(i.Connections, byKind)
	i.Says = i.sentence()
	return i, i.check()
}

func byKind(a, b Connection) int {
	return cmp.Or(cmp.Compare(kindPlace(a.Kind), kindPlace(b.Kind)), cmp.Compare(a.Value, b.Value), cmp.Compare(a.With, b.With))
}

// boundIndices are the leaves on both sides of both ends of the range, where the log has them.
func (s *Scope) boundIndices() []chain.Index {
	var list []chain.Index
	for _, index := range []chain.Index{s.Begin - 1, s.Begin, s.End - 1, s.End} {
		if index < s.Size && !slices.Contains(list, index) { // Begin − 1 and End − 1 wrap round at 0
			list = append(list, index)
		}
	}
	return list
}

func (x *export) bounds(ctx context.Context) ([]ProvenLeaf, error) {
	list := []ProvenLeaf{}
	for _, index := range x.scope.boundIndices() {
		leaf, err := x.reader.Leaf(ctx, index)
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", index, err)
		}
		path, err := chain.ProveInclusion(ctx, x.nodes, index, x.scope.Size)
		if err != nil {
			return nil, err
		}
		list = append(list, ProvenLeaf{leaf, path})
	}
	return list, nil
}

var labelForm = regexp.MustCompile(`^tenant-[0-9a-f]{16}$`)

// check holds the statement to itself. The error is ErrIsolation.
func (i *Isolation) check() error {
	switch {
	case i.Version != IsolationVersion:
		return fmt.Errorf("version %d: %w", i.Version, ErrIsolation)
	case i.Scope.check() != nil:
		return fmt.Errorf("%w: %w", ErrIsolation, i.Scope.check())
	case !i.Scope.whole() || i.Scope.Grace > 0:
		return fmt.Errorf("about less or more than a tenant's period: %w", ErrIsolation)
	case len(i.Connections) > maxConnections || i.Unseen > i.Scope.records() || len(i.Bounds) != len(i.Scope.boundIndices()):
		return fmt.Errorf("%d connections, %d records unseen, %d bounds: %w", len(i.Connections), i.Unseen, len(i.Bounds), ErrIsolation)
	case i.Says != i.sentence():
		return fmt.Errorf("the sentence is not that of the list: %w", ErrIsolation)
	}
	for k := range i.Connections {
		if err := i.checkConnection(k); err != nil {
			return fmt.Errorf("connection %d: %w", k, err)
		}
	}
	return nil
}

func (i *Isolation) checkConnection(k int) error {
	c, s := &i.Connections[k], &i.Scope
	inside := func(index uint64) bool { return index >= uint64(s.Begin) && index < uint64(s.End) }
	switch {
	case kindPlace(c.Kind) < 0 || c.Value == "" || len(c.Value) > event.MaxText || !labelForm.MatchString(c.With):
		return ErrIsolation
	case c.Records == 0 || !inside(c.First) || !inside(c.Last) || c.First > c.Last || c.Records > c.Last-c.First+1:
		return ErrIsolation
	case k > 0 && byKind(i.Connections[k-1], *c) >= 0:
		return fmt.Errorf("not in order: %w", ErrIsolation)
	case c.Review != nil && !slices.Contains(resultNames[1:], c.Review.Outcome):
		return fmt.Errorf("outcome %q: %w", c.Review.Outcome, ErrIsolation)
	case c.Review != nil && (c.Review.Record >= uint64(s.End) || c.Review.At >= s.To):
		return fmt.Errorf("a review from after the range: %w", ErrIsolation)
	}
	return nil
}

// parseIsolation reads a statement without judging its signature. The errors are ErrIsolation and ErrJSON.
func parseIsolation(file []byte) (*Isolation, *envelope, error) {
	says, rest, found := bytes.Cut(file, []byte("\n\n"))
	if !found || len(file) > MaxIsolation {
		return nil, nil, ErrIsolation
	}
	e, i := new(envelope), new(Isolation)
	if err := unmarshalJSON(rest, e); err != nil {
		return nil, nil, err
	}
	if len(e.Signatures) != 1 || e.Signatures[0].KeyID == nil {
		return nil, nil, fmt.Errorf("not one signature with a key id: %w", ErrIsolation)
	}
	if err := unmarshalLine(e.Payload, i); err != nil {
		return nil, nil, err
	}
	if err := i.check(); err != nil {
		return nil, nil, err
	}
	if i.Says != string(says) {
		return nil, nil, fmt.Errorf("the first line is not that of the statement: %w", ErrIsolation)
	}
	return i, e, nil
}

var firstLine = regexp.MustCompile(`^(No recorded sharing:|[0-9]{1,5} recorded connections? )`)

// IsIsolation reports whether a file begins as a statement of isolation does, and not as a bundle.
func IsIsolation(start []byte) bool { return firstLine.Match(start) }
