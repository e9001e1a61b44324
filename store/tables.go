package store

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// table is one table's rows of a block, column by column. What the columns
// mean is written in sql/; that both agree is checked when a store is opened.
type table struct {
	name    string
	key     []string // the columns that name a row to a person
	columns []column
	rows    int

	prepared prepared // nothing but between Prepare and Insert
}

// grow appends n rows of defaults and returns the first.
func (t *table) grow(n int) int {
	for _, c := range t.columns {
		c.grow(n)
	}
	t.rows += n
	return t.rows - n
}

func (t *table) reset() {
	for _, c := range t.columns {
		c.reset()
	}
	t.rows = 0
}

// names is the list of columns, as it stands in INSERT and SELECT.
func (t *table) names() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.Name()
	}
	return strings.Join(names, ", ")
}

func (t *table) column(name string) column {
	return t.columns[slices.IndexFunc(t.columns, func(c column) bool { return c.Name() == name })]
}

// encode is one row's values, one after the other.
func (t *table) encode(dst []byte, row int) []byte {
	for _, c := range t.columns {
		dst = c.encode(dst, row)
	}
	return dst
}

// rowName names a row by its key: "tenant=\"acme\" idx=5".
func (t *table) rowName(row int) string {
	parts := make([]string, len(t.key))
	for i, name := range t.key {
		parts[i] = name + "=" + t.column(name).show(row)
	}
	return strings.Join(parts, " ")
}

// enumOf is the Enum8 type of a protobuf enumeration, with the names of package
// event: lower case, without the prefix, and empty for the unspecified value.
func enumOf(e interface {
	Descriptor() protoreflect.EnumDescriptor
},
) string {
	values := e.Descriptor().Values()
	prefix := strings.TrimSuffix(string(values.ByNumber(0).Name()), "UNSPECIFIED")
	var items []string
	for i := range values.Len() {
		name := strings.ToLower(strings.TrimPrefix(string(values.Get(i).Name()), prefix))
		if values.Get(i).Number() == 0 {
			name = ""
		}
		items = append(items, fmt.Sprintf("'%s' = %d", name, values.Get(i).Number()))
	}
	return "Enum8(" + strings.Join(items, ", ") + ")"
}

// The enumerations of package chain. KindNone is 255, which is −1 in 8 bits.
var (
	kindType    = chainEnum(chain.KindNone, chain.KindIdentity, chain.KindData, chain.KindExecution, chain.KindApproval, chain.KindSystem)
	verdictType = chainEnum(chain.Accepted, chain.Gap, chain.Late, chain.KeyInvalid, chain.Held, chain.Equivocation, chain.Malformed)
)

func chainEnum[T interface {
	~uint8
	fmt.Stringer
}](values ...T,
) string {
	items := make([]string, len(values))
	for i, v := range values {
		items[i] = fmt.Sprintf("'%s' = %d", v, int8(v))
	}
	return "Enum8(" + strings.Join(items, ", ") + ")"
}

// Names of the tables that the fold writes.
const (
	tableEvents   = "events"
	tableLeaves   = "leaves"
	tableBatches  = "batches"
	tableOpenings = "openings"
	tableHeld     = "held"
	tableKeys     = "keys"
	tableHeads    = "heads"
	tableState    = "fold_state"
)

const (
	hashSize  = sha256.Size
	idSize    = 16 // of an event id and of an epoch
	valueSize = 8  // of a fingerprint
)

// place is where a row stands: in which log, at which leaf, from which message.
type place struct {
	tenant    dict
	idx       number[uint64]
	streamSeq number[uint64]
}

func (p *place) cols() []column {
	return []column{p.tenant.low("tenant"), p.idx.as("idx", "UInt64"), p.streamSeq.as("stream_seq", "UInt64")}
}

func (p *place) set(row int, tenant string, idx, streamSeq uint64) {
	p.tenant.set(row, tenant)
	p.idx.rows[row], p.streamSeq.rows[row] = idx, streamSeq
}

// events has one row for each leaf.
type events struct {
	table
	place
	position                                  number[uint32]
	received, occurredAt                      number[int64]
	instance                                  dict
	keyID                                     dict
	seq                                       number[uint64]
	producer, verdict, kind                   number[int8]
	action                                    dict
	id                                        text
	run                                       text
	runSeq                                    number[uint64]
	principal                                 dict
	onBehalfOf, subjects                      list[string]
	causes, fingerprints                      list[string]
	causeRelations, causeBases                list[int8]
	timeBasis, trust                          number[int8]
	call                                      text
	tool, operation, connector                dict
	consequence, decision, outcome, direction number[int8]
	destination, policy                       dict
	attempt                                   number[uint32]
	cost                                      number[uint64]
	costUnit                                  dict
	duration                                  number[int64]
	source                                    dict
	resource                                  text
	domain, dataClass                         dict
	size                                      number[uint64]
	memoryKey                                 dict
	label                                     dict
	approver                                  dict
	subjectEvent                              text
	workflow, model, agentVersion             dict
	session                                   text
	role, delegate                            dict
	credential                                dict
	object                                    dict
	bytes                                     text
}

func newEvents() *events {
	t := &events{}
	t.table = table{name: tableEvents, key: []string{"tenant", "idx"}}
	t.table.columns = slices.Concat(t.place.cols(), t.envelope(), t.execution(), t.data(), t.identity(), []column{
		t.approver.low("approver"),
		t.subjectEvent.fixed("subject_event", idSize),
		t.object.low("object"),
		t.bytes.str("bytes"),
	})
	return t
}

func (t *events) envelope() []column {
	return []column{
		t.position.as("position", "UInt32"),
		t.received.as("received", timeType),
		t.instance.low("instance"),
		t.keyID.lowFixed("key_id", hashSize),
		t.seq.as("seq", "UInt64"),
		t.producer.as("producer", enumOf(eventv1.ProducerClass(0))),
		t.verdict.as("verdict", verdictType),
		t.kind.as("kind", kindType),
		t.action.low("action"),
		t.id.fixed("id", idSize),
		t.run.str("run"),
		t.runSeq.as("run_seq", "UInt64"),
		t.principal.low("principal"),
		lows(&t.onBehalfOf, "on_behalf_of"),
		t.occurredAt.as("occurred_at", timeType),
		t.timeBasis.as("time_basis", enumOf(eventv1.TimeBasis(0))),
		t.trust.as("trust", enumOf(eventv1.Trust(0))),
		fixeds(&t.causes, "causes", idSize),
		codes(&t.causeRelations, "cause_relations", enumOf(eventv1.Relation(0))),
		codes(&t.causeBases, "cause_bases", enumOf(eventv1.CauseBasis(0))),
		lows(&t.subjects, "subjects"),
		fixeds(&t.fingerprints, "fingerprints", valueSize),
	}
}

func (t *events) execution() []column {
	return []column{
		t.call.str("call"),
		t.tool.low("tool"),
		t.operation.low("operation"),
		t.connector.low("connector"),
		t.consequence.as("consequence", enumOf(eventv1.Consequence(0))),
		t.destination.low("destination"),
		t.attempt.as("attempt", "UInt32"),
		t.decision.as("decision", enumOf(eventv1.Decision(0))),
		t.policy.low("policy"),
		t.outcome.as("outcome", enumOf(eventv1.Outcome(0))),
		t.cost.as("cost", "UInt64"),
		t.costUnit.low("cost_unit"),
		t.duration.as("duration", "Int64"),
	}
}

func (t *events) data() []column {
	return []column{
		t.source.low("source"),
		t.resource.str("resource"),
		t.domain.low("domain"),
		t.dataClass.low("data_class"),
		t.direction.as("direction", enumOf(eventv1.Direction(0))),
		t.size.as("size", "UInt64"),
		t.memoryKey.low("memory_key"),
		t.label.low("label"),
	}
}

func (t *events) identity() []column {
	return []column{
		t.workflow.low("workflow"),
		t.model.low("model"),
		t.agentVersion.low("agent_version"),
		t.session.str("session"),
		t.role.low("role"),
		t.delegate.low("delegate"),
		t.credential.low("credential"),
	}
}

// leaves has one row for each leaf; expiry never touches it.
type leaves struct {
	table
	place
	time number[int64]
	leaf text
}

func newLeaves() *leaves {
	t := &leaves{}
	t.table = table{name: tableLeaves, key: []string{"tenant", "idx"}}
	t.table.columns = append(t.place.cols(), t.time.as("time", timeType), t.leaf.fixed("leaf", chain.LeafSize))
	return t
}

// batches has one row for each message that got leaves.
type batches struct {
	table
	place
	leaves                      number[uint32]
	messageTime                 number[int64]
	bytes                       number[uint64]
	subject                     dict
	messageDigest, streamDigest text
	producer                    number[int8]
	instance                    dict
	keyID                       dict
	epochNo                     number[uint64]
	epoch                       dict
	firstSeq                    number[uint64]
	count                       number[uint32]
	batchDigest                 text
	statement, signature        text
}

func newBatches() *batches {
	t := &batches{}
	t.table = table{name: tableBatches, key: []string{"tenant", "idx"}}
	t.table.columns = append(t.place.cols(),
		t.leaves.as("leaves", "UInt32"),
		t.messageTime.as("message_time", timeType),
		t.bytes.as("bytes", "UInt64"),
		t.subject.low("subject"),
		t.messageDigest.fixed("message_digest", hashSize),
		t.streamDigest.fixed("stream_digest", hashSize),
		t.producer.as("producer", enumOf(eventv1.ProducerClass(0))),
		t.instance.low("instance"),
		t.keyID.lowFixed("key_id", hashSize),
		t.epochNo.as("epoch_no", "UInt64"),
		t.epoch.lowFixed("epoch", idSize),
		t.firstSeq.as("first_seq", "UInt64"),
		t.count.as("count", "UInt32"),
		t.batchDigest.fixed("batch_digest", hashSize),
		t.statement.str("statement"),
		t.signature.str("signature"),
	)
	return t
}

// openings has one row for each encrypted opening.
type openings struct {
	table
	place
	path, subject dict
	generation    number[uint32]
	ciphertext    text
}

func newOpenings() *openings {
	t := &openings{}
	t.table = table{name: tableOpenings, key: []string{"tenant", "idx", "path"}}
	t.table.columns = append(t.place.cols(),
		t.path.low("path"),
		t.subject.low("subject"),
		t.generation.as("generation", "UInt32"),
		t.ciphertext.str("ciphertext"),
	)
	return t
}

// held has one row for each event that failed the secret scan.
type held struct {
	table
	place
	kind       number[uint32]
	eventHash  text
	generation number[uint32]
	detector   dict
	ciphertext text
}

func newHeld() *held {
	t := &held{}
	t.table = table{name: tableHeld, key: []string{"tenant", "idx"}}
	t.table.columns = append(t.place.cols(),
		t.kind.as("kind", "UInt32"),
		t.eventHash.fixed("event_hash", hashSize),
		t.generation.as("generation", "UInt32"),
		t.detector.low("detector"),
		t.ciphertext.str("ciphertext"),
	)
	return t
}

// keys has one row for each accepted change of an emitter key.
type keys struct {
	table
	place
	action      number[int8]
	keyID       text
	publicKey   text
	instance    dict
	producer    number[int8]
	replaces    text
	suspectFrom number[uint64]
}

func newKeys() *keys {
	t := &keys{}
	t.table = table{name: tableKeys, key: []string{"tenant", "idx"}}
	t.table.columns = append(t.place.cols(),
		t.action.as("action", enumOf(eventv1.KeyAction(0))),
		t.keyID.fixed("key_id", hashSize),
		t.publicKey.str("public_key"),
		t.instance.low("instance"),
		t.producer.as("producer", enumOf(eventv1.ProducerClass(0))),
		t.replaces.str("replaces"),
		t.suspectFrom.as("suspect_from", "UInt64"),
	)
	return t
}

// heads has one row for each tenant that a block touched. stream_seq is the
// block's last message.
type heads struct {
	table
	tenant       dict
	blockFirst   number[uint64]
	streamSeq    number[uint64]
	size         number[uint64]
	root         text
	leafHash     text
	time         number[int64]
	streamDigest text
}

func newHeads() *heads {
	t := &heads{}
	t.table = table{name: tableHeads, key: []string{"tenant", "stream_seq"}, columns: []column{
		t.tenant.low("tenant"),
		t.blockFirst.as("block_first", "UInt64"),
		t.streamSeq.as("stream_seq", "UInt64"),
		t.size.as("size", "UInt64"),
		t.root.fixed("root", hashSize),
		t.leafHash.fixed("leaf_hash", hashSize),
		t.time.as("time", timeType),
		t.streamDigest.fixed("stream_digest", hashSize),
	}}
	return t
}

// state has the last value of each entry of the fold's state that a block
// changed. stream_seq is the message that changed it.
type state struct {
	table
	tenant    dict
	key       text
	streamSeq number[uint64]
	value     text
	at        map[stateKey]int // row of each key in the block
}

type stateKey struct{ tenant, key string }

func newState() *state {
	t := &state{at: map[stateKey]int{}}
	t.table = table{name: tableState, key: []string{"tenant", "key", "stream_seq"}, columns: []column{
		t.tenant.low("tenant"),
		t.key.str("key"),
		t.streamSeq.as("stream_seq", "UInt64"),
		t.value.str("value"),
	}}
	return t
}

func (t *state) reset() {
	t.table.reset()
	clear(t.at)
}
