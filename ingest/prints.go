package ingest

import (
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// prints are a tenant's fingerprint keys: key number n, counted from 1, stands at n-1. An emitter that was told the newest
// one may have events on its disk that it made under those before. It belongs to one goroutine.
type prints struct {
	keys    [][32]byte
	printer []*event.Fingerprinter // of each key, made when it is first needed
}

func newPrints(keys [][32]byte) *prints {
	return &prints{keys, make([]*event.Fingerprinter, len(keys))}
}

// newest is the key for what is made from now on.
func (p *prints) newest() (number uint32, key []byte) {
	return uint32(len(p.keys)), p.keys[len(p.keys)-1][:]
}

// of is for the fingerprints of an event, which are all under one key; of an event without any they are checked under the
// newest. It returns nil for a number that is no key of the tenant's.
func (p *prints) of(e *eventv1.Event) *event.Fingerprinter {
	if all := e.GetFingerprints(); len(all) > 0 {
		return p.under(all[0].GetKeyId())
	}
	number, _ := p.newest()
	return p.under(number)
}

// under is for fingerprints under a numbered key, nil if there is none of that number.
func (p *prints) under(number uint32) *event.Fingerprinter {
	if number == 0 || uint64(number) > uint64(len(p.keys)) {
		return nil
	}
	if p.printer[number-1] == nil {
		p.printer[number-1] = event.NewFingerprinter(p.keys[number-1][:], number)
	}
	return p.printer[number-1]
}
