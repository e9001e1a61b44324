package event

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The checks of single fields. Each returns nil if the field is right; they are cheap enough to be called without asking
// whether the one before failed, which keeps the list of a message's checks flat.

// text is at most most bytes of UTF-8. Control characters are allowed: a reader shows text through Escape.
func text(field, s string, most int) *FieldError {
	if s == "" {
		return nil // as most fields of most events are; short enough to be written out where it is called
	}
	return atMostText(field, s, most)
}

func atMostText(field, s string, most int) *FieldError {
	switch {
	case len(s) > most:
		return &FieldError{field, fmt.Sprintf("longer than %d bytes", most)}
	case !isText(s):
		return &FieldError{field, "not UTF-8"}
	}
	return nil
}

// given is text that is not empty.
func given(field, s string, most int) *FieldError {
	if s == "" {
		return &FieldError{field, "missing"}
	}
	return text(field, s, most)
}

func name(field, s string) *FieldError {
	switch {
	case s == "":
		return &FieldError{field, "missing"}
	case !ValidName(s):
		return &FieldError{field, "not of the form [a-z0-9-]{1,63}"}
	}
	return nil
}

// exactly is size bytes.
func exactly(field string, b []byte, size int) *FieldError {
	switch {
	case len(b) == 0:
		return &FieldError{field, "missing"}
	case len(b) != size:
		return &FieldError{field, fmt.Sprintf("not %d bytes", size)}
	}
	return nil
}

// exactlyIf is size bytes or none.
func exactlyIf(field string, b []byte, size int) *FieldError {
	if len(b) == 0 {
		return nil
	}
	return exactly(field, b, size)
}

func eventID(field string, b []byte) *FieldError {
	switch {
	case len(b) == 0:
		return &FieldError{field, "missing"}
	case !isID(b):
		return &FieldError{field, "not a UUIDv7"}
	}
	return nil
}

func eventIDIf(field string, b []byte) *FieldError {
	if len(b) == 0 {
		return nil
	}
	return eventID(field, b)
}

// enum is a value that the format knows, zero included.
func enum[E protoreflect.Enum](field string, e E, most E) *FieldError {
	if n := e.Number(); n < 0 || n > most.Number() {
		return &FieldError{field, fmt.Sprintf("unknown value %d", n)}
	}
	return nil
}

// enumGiven is a known value other than zero.
func enumGiven[E protoreflect.Enum](field string, e E, most E) *FieldError {
	if e.Number() == 0 {
		return &FieldError{field, "missing"}
	}
	return enum(field, e, most)
}

// counter is a number that may be added to.
func counter(field string, n uint64) *FieldError {
	if n > MaxCounter {
		return &FieldError{field, "too large"}
	}
	return nil
}

func positive(field string, n uint64) *FieldError {
	if n == 0 {
		return &FieldError{field, "missing"}
	}
	return counter(field, n)
}

// instant is nanoseconds since the Unix epoch, or 0 for none.
func instant(field string, ns int64) *FieldError {
	if ns < 0 {
		return &FieldError{field, "before 1970"}
	}
	return nil
}

func instantGiven(field string, ns int64) *FieldError {
	if ns == 0 {
		return &FieldError{field, "missing"}
	}
	return instant(field, ns)
}

// span is a number of nanoseconds.
func span(field string, ns int64) *FieldError {
	if ns < 0 {
		return &FieldError{field, "negative"}
	}
	return nil
}

func atMost(field string, n, most int) *FieldError {
	if n > most {
		return &FieldError{field, fmt.Sprintf("more than %d", most)}
	}
	return nil
}

// texts is at most most texts, none of them empty.
func texts(field string, list []string, most int) *FieldError {
	if err := atMost(field, len(list), most); err != nil {
		return err
	}
	for i, s := range list {
		if err := given("", s, MaxID); err != nil {
			return err.under(at(field, i))
		}
	}
	return nil
}

// version is the one version that is known.
func version(field string, n, known uint32) *FieldError {
	if n != known {
		return &FieldError{field, fmt.Sprintf("not %d", known)}
	}
	return nil
}

// oneOf is one of a few words.
func oneOf(field, s string, words ...string) *FieldError {
	if slices.Contains(words, s) {
		return nil
	}
	return &FieldError{field, "none of " + strings.Join(words, ", ")}
}

// at names an element of a list.
func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// fields is a set of field numbers of one message: bit n is field n.
type fields uint64

// rule says which fields an action needs and which it allows besides.
type rule struct{ need, may fields }

// rules are the rules of one kind, by action.
type rules struct {
	kind   protoreflect.MessageDescriptor
	action []rule
}

// newRules reads a table of field names; a name that ends in "?" is allowed, the others are needed.
func newRules[A ~int32](kind proto.Message, table map[A]string) rules {
	r := rules{kind.ProtoReflect().Descriptor(), make([]rule, len(table)+1)}
	for action, names := range table {
		for n := range strings.FieldsSeq(names) {
			f := r.kind.Fields().ByName(protoreflect.Name(strings.TrimSuffix(n, "?")))
			if strings.HasSuffix(n, "?") {
				r.action[action].may |= 1 << f.Number()
			} else {
				r.action[action].need |= 1 << f.Number()
			}
		}
	}
	return r
}

// check holds the fields that are set against the rule of the action.
func (r rules) check(action int32, set fields) *FieldError {
	if action <= 0 || int(action) >= len(r.action) {
		return &FieldError{"action", fmt.Sprintf("unknown value %d", action)}
	}
	rule := r.action[action]
	if missing := rule.need &^ set; missing != 0 {
		return &FieldError{r.name(missing), "missing"}
	}
	if extra := set &^ (rule.need | rule.may); extra != 0 {
		return &FieldError{r.name(extra), "not allowed for this action"}
	}
	return nil
}

// name of the lowest field in the set.
func (r rules) name(set fields) string {
	n := protoreflect.FieldNumber(bits.TrailingZeros64(uint64(set)))
	return string(r.kind.Fields().ByNumber(n).Name())
}

// bit is the set of field n if it is set.
func bit(n uint, set bool) fields {
	if set {
		return 1 << n
	}
	return 0
}
