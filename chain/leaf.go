package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// LeafVersion is the only version of the leaf header.
const LeafVersion = 1

// LeafSize is the length of every leaf in bytes: version, origin hash, index,
// prev, time, instance tag, batch digest, position, kind, verdict, event hash.
const LeafSize = 1 + 32 + 8 + 32 + 8 + 32 + 32 + 4 + 1 + 1 + 32

// MaxSize is the most leaves a log may have, so that every index and size
// also fits a signed 64-bit integer.
const MaxSize = math.MaxInt64

// ErrLeaf says that bytes are not the one encoding of a leaf.
var ErrLeaf = errors.New("malformed leaf")

// Index is the position of a leaf in its log, from 0. As the end of a range or
// the size of a tree it counts leaves.
type Index uint64

// Kind is the kind of the event behind a leaf.
type Kind uint8

// The kinds of event.
const (
	KindIdentity  Kind = 1
	KindData      Kind = 2
	KindExecution Kind = 3
	KindApproval  Kind = 4
	KindSystem    Kind = 5
	KindNone      Kind = 255 // not an event
)

var kindNames = map[Kind]string{
	KindIdentity: "identity", KindData: "data", KindExecution: "execution",
	KindApproval: "approval", KindSystem: "system", KindNone: "none",
}

// Valid reports whether k is a known kind.
func (k Kind) Valid() bool { return k >= KindIdentity && k <= KindSystem || k == KindNone }

// String returns the name of k, or its number if it is unknown.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of String for known kinds.
func ParseKind(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("parse kind: unknown name %q", name)
}

// Verdict is the fold's final judgement of one event.
type Verdict uint8

// The verdicts. Zero is no verdict, so that a forgotten field is caught.
const (
	Accepted     Verdict = 1
	Gap          Verdict = 2 // accepted, but numbers before it are missing
	Late         Verdict = 3 // fills a gap that was recorded before
	KeyInvalid   Verdict = 4 // the key was not valid at this index
	Held         Verdict = 5 // authentic, but its content is kept closed
	Equivocation Verdict = 6 // the number was used before with other content
	Malformed    Verdict = 7 // not a message that can be read
)

var verdictNames = [...]string{
	Accepted: "accepted", Gap: "gap", Late: "late", KeyInvalid: "key-invalid",
	Held: "held", Equivocation: "equivocation", Malformed: "malformed",
}

// Valid reports whether v is a known verdict.
func (v Verdict) Valid() bool { return v >= Accepted && v <= Malformed }

// String returns the name of v, or its number if it is unknown.
func (v Verdict) String() string {
	if v.Valid() {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// ParseVerdict is the inverse of String for known verdicts.
func ParseVerdict(name string) (Verdict, error) {
	for v := Accepted; v <= Malformed; v++ {
		if verdictNames[v] == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("parse verdict: unknown name %q", name)
}

// Leaf is the header that the log chains for one event.
type Leaf struct {
	Origin   Hash    // SHA-256 of the log's origin
	Index    Index   // 0 ≤ Index < MaxSize
	Prev     Hash    // leaf hash at Index − 1; zero at Index 0
	Time     int64   // ingest time, ns UTC, ≥ 0, never less than the leaf before
	Instance Hash    // instance tag
	Batch    Hash    // batch digest
	Position uint32  // position in the batch, from 0
	Kind     Kind    // KindNone if the message is not an event
	Verdict  Verdict // what the fold decided
	Event    Hash    // event hash; over the raw message for Equivocation, Malformed
}

// AppendBinary appends the LeafSize bytes of l to dst. The error is ErrLeaf,
// for a leaf that ParseLeaf would refuse; dst is then returned as it was.
func (l *Leaf) AppendBinary(dst []byte) ([]byte, error) {
	if err := l.check(); err != nil {
		return dst, fmt.Errorf("encode leaf: %w", err)
	}
	return l.append(dst), nil
}

func (l *Leaf) append(dst []byte) []byte {
	dst = append(dst, LeafVersion)
	dst = append(dst, l.Origin[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.Index))
	dst = append(dst, l.Prev[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.Time))
	dst = append(dst, l.Instance[:]...)
	dst = append(dst, l.Batch[:]...)
	dst = binary.BigEndian.AppendUint32(dst, l.Position)
	dst = append(dst, byte(l.Kind), byte(l.Verdict))
	return append(dst, l.Event[:]...)
}

// ParseLeaf reads exactly LeafSize bytes. It refuses other sizes and versions,
// unknown kinds and verdicts, an index or time beyond its range, and a first
// leaf that claims a predecessor; the error is ErrLeaf.
func ParseLeaf(b []byte) (l Leaf, err error) {
	if err = l.UnmarshalBinary(b); err != nil {
		return Leaf{}, err
	}
	return l, nil
}

// UnmarshalBinary is ParseLeaf into a leaf that is there already. After an
// error the leaf is of no use.
func (l *Leaf) UnmarshalBinary(b []byte) error {
	if len(b) != LeafSize {
		return fmt.Errorf("parse leaf: %d bytes, want %d: %w", len(b), LeafSize, ErrLeaf)
	}
	if b[0] != LeafVersion {
		return fmt.Errorf("parse leaf: version %d, want %d: %w", b[0], LeafVersion, ErrLeaf)
	}
	l.decode(b[1:])
	if err := l.check(); err != nil {
		return fmt.Errorf("parse leaf: %w", err)
	}
	return nil
}

// decode reads the fields after the version. Its offsets are one less than
// those of the table in the package comment.
func (l *Leaf) decode(b []byte) {
	_ = b[181]
	l.Origin = Hash(b[0:32])
	l.Index = Index(binary.BigEndian.Uint64(b[32:40]))
	l.Prev = Hash(b[40:72])
	l.Time = int64(binary.BigEndian.Uint64(b[72:80]))
	l.Instance = Hash(b[80:112])
	l.Batch = Hash(b[112:144])
	l.Position = binary.BigEndian.Uint32(b[144:148])
	l.Kind = Kind(b[148])
	l.Verdict = Verdict(b[149])
	l.Event = Hash(b[150:182])
}

func (l *Leaf) check() error {
	switch {
	case l.Index >= MaxSize:
		return fmt.Errorf("index %d beyond the largest log: %w", l.Index, ErrLeaf)
	case l.Index == 0 && !l.Prev.IsZero():
		return fmt.Errorf("first leaf has a predecessor: %w", ErrLeaf)
	case l.Time < 0:
		return fmt.Errorf("time before 1970 or beyond 2262: %w", ErrLeaf)
	case !l.Kind.Valid():
		return fmt.Errorf("unknown kind %d: %w", uint8(l.Kind), ErrLeaf)
	case !l.Verdict.Valid():
		return fmt.Errorf("unknown verdict %d: %w", uint8(l.Verdict), ErrLeaf)
	}
	return nil
}
