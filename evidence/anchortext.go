package evidence

import (
	"fmt"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/timestamp"
)

// anchoring is the answer to who confirms the log's times, and what it means.
func (v *verification) anchoring(out *Verdict) {
	for _, c := range v.head.Cosignatures {
		if v.policy != nil && v.policy.isTimeKey(c.Key) {
			out.Anchoring = AnchoredByLog
		}
		out.AnchoredAt = max(out.AnchoredAt, c.Seconds)
	}
	for _, s := range v.stamps {
		if s.Of != ofLog {
			continue // it says when the bundle was made, not when the records were there
		}
		if s.Qualified {
			out.Anchoring = AnchoredByStamp
		} else if out.Anchoring == AnchoredNot {
			out.Anchoring = AnchoredByLog // an authority of the operator's own is the operator's clock
		}
		out.AnchoredAt = max(out.AnchoredAt, int64(s.At)/int64(time.Second))
	}
	if w := v.witnessed; w != nil && w.Met && w.Confirmed > 0 {
		out.Anchoring = fmt.Sprintf("%s %d of %d", AnchoredByWitnesses, w.Confirmed, w.Known)
	}
	out.Witnesses, out.TimeStamps = v.witnessed, append([]TimeStamp{}, v.stamps...)
}

// timeAnswer is the answer without its numbers, and what it means with them.
func (v *Verdict) timeAnswer() (answer, meaning string) {
	answer, _, _ = strings.Cut(v.Anchoring, " ")
	if meaning = meanings["time"][answer]; answer == AnchoredByWitnesses {
		meaning = fmt.Sprintf(meaning, v.Witnesses.Confirmed, v.Witnesses.Known)
	}
	return answer, meaning
}

// outside names those who confirm the log from outside.
func (v *Verdict) outside(p *page) {
	if v.Witnesses == nil && len(v.TimeStamps) == 0 {
		return
	}
	p.section("WHO CONFIRMS THE LOG")
	if w := v.Witnesses; w != nil {
		names := "none of them"
		if len(w.Names) > 0 {
			names = event.Escape(strings.Join(w.Names, ", "))
		}
		p.item("%d of the %d witnesses that the policy names: %s", w.Confirmed, w.Known, names)
	}
	for _, s := range v.TimeStamps {
		p.item("time stamp of the %s: %s, %s", s.Of, instantText(s.At), event.Escape(s.Authority))
		if !s.Qualified {
			p.item("  This authority is the operator's own and not qualified: its stamp says what the operator's clock says.")
		}
		p.item("  %s", revocationWords[s.Revocation])
	}
}

// revocationWords say what is known of the certificate of a time stamp.
var revocationWords = map[timestamp.Revocation]string{
	timestamp.NotRevoked:           "Its certificate was not revoked, by the lists that its issuer has signed.",
	timestamp.RevocationNotChecked: "Whether its certificate was revoked was NOT CHECKED: no list of its issuer is here (--crl).",
}

// times says of each event that was asked about when it must have happened.
func (v *Verdict) times(p *page) {
	if len(v.When) == 0 {
		return
	}
	p.section("WHEN")
	for i := range v.When {
		v.When[i].text(p)
	}
}

func (w *When) text(p *page) {
	if !w.Found {
		p.item("event %s: its content is not in this bundle, so nothing is said of its time", w.Event)
		return
	}
	p.item("event %s, record %d, of %s", w.Event, w.Record, event.Escape(w.Instance))
	claim := "says the producer's own clock"
	if w.Made {
		claim = "says the importer, who was not there"
	}
	p.item("  %-20s%s, %s", "happened at", instantText(w.Claimed), claim)
	w.earliest(p)
	p.item("  %-20s%s, says the log's clock", "received at", instantText(w.Received))
	if w.Before != nil {
		p.item("  %-20s%s, confirmed by %s", "happened before", instantText(w.Before.At), event.Escape(w.Before.By))
	} else {
		p.item("  %-20snobody outside the log confirms a time by which it had happened", "happened before")
	}
}

// earliest says after what the event was signed. It may have happened before it was signed.
func (w *When) earliest(p *page) {
	if w.After != nil {
		p.item("  %-20s%s, says the log's clock: its producer had seen record %d", "signed after", instantText(w.After.At), w.After.Record)
	}
	if w.Since != nil {
		p.item("  %-20s%s, confirmed by %s: what its producer had seen was not there yet", "signed after", instantText(w.Since.At), event.Escape(w.Since.By))
	}
	if w.After == nil && w.Since == nil {
		p.item("  %-20snothing shows a time after which it was signed", "signed after")
	}
}
