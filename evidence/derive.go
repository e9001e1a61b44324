package evidence

import (
	"fmt"
	"io"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// fact is one record of the range whose plain content is in the bundle, with what the records before it in the range say about it.
// Populations and controls are functions of the facts in their order, and of nothing else.
type fact struct {
	index    chain.Index
	time     int64 // of the leaf, nanoseconds since 1970
	verdict  chain.Verdict
	producer eventv1.ProducerClass // of the key, if it counted where the message began
	event    *eventv1.Event

	decided eventv1.Decision // of a start: the gate's last decision on the call
	consent consent          // of a start
	answer  *answer          // that consent rests on; nil if none is here

	pace uint8 // of an approval that Custody recorded
	late bool  // of a review: it came after it was due

	old    bool  // received more than keptLong before the end of the range
	action uint8 // place among the values of termAction
}

// keptLong is 183 days in nanoseconds: the least time for which the EU AI Act (Articles 19 and 26) has logs kept, six months, on its
// longest count.
const keptLong = 183 * 24 * 3600 * 1e9

// derivation turns facts into populations and controls. Writer and verifier run the same one: the writer writes what it says, the verifier
// compares.
type derivation struct {
	scope *Scope
	calls *calls
	exam  *examination // nil if the bundle's mapping cannot be read
	row   row
	rows  [len(populations)]uint64
	out   [len(populations)]io.Writer
}

func newDerivation(scope *Scope, exam *examination, open func(file string) io.Writer) (*derivation, error) {
	d := &derivation{scope: scope, exam: exam, calls: newCalls()}
	for i := range populations {
		d.out[i] = open(populations[i].file)
		if _, err := io.WriteString(d.out[i], populations[i].header); err != nil {
			return nil, fmt.Errorf("%s: %w", populations[i].file, err)
		}
	}
	return d, nil
}

// add takes the next record.
func (d *derivation) add(f *fact) error {
	if f.verdict != chain.KeyInvalid { // what an unknown hand wrote decides and approves nothing
		switch f.event.GetBody().(type) {
		case *eventv1.Event_Execution:
			d.calls.execution(f)
		case *eventv1.Event_Approval:
			d.calls.approval(f)
		case *eventv1.Event_System:
			d.calls.people.system(f)
		}
	}
	if d.exam != nil {
		f.old = f.time < int64(d.scope.To)-keptLong
		d.exam.add(f)
	}
	for i := range populations {
		if !populations[i].has(f) {
			continue
		}
		d.rows[i]++
		if _, err := d.out[i].Write(populations[i].write(&d.row, f)); err != nil {
			return fmt.Errorf("%s: row %d: %w", populations[i].file, d.rows[i], err)
		}
	}
	return nil
}

// missing takes a record whose content is not in the bundle.
func (d *derivation) missing(kind chain.Kind) {
	if d.exam != nil {
		d.exam.missing(kind)
	}
}

// producerAt is the class of a key where it counts.
func producerAt(state *registry.State, statement *eventv1.BatchStatement, first chain.Index) eventv1.ProducerClass {
	key, known := state.Key([32]byte(statement.GetKeyId()))
	if !known || !key.ValidAt(uint64(first)) {
		return eventv1.ProducerClass_PRODUCER_CLASS_UNSPECIFIED
	}
	return key.Producer
}

// counts are the rows of each population, by the name of its file.
func (d *derivation) counts() map[string]uint64 {
	counts := map[string]uint64{}
	for i := range populations {
		counts[populations[i].file] = d.rows[i]
	}
	return counts
}
