package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// maxLines is how many producers, reasons or keys the text names; the JSON has all.
const maxLines = 20

// Text says the verdict to a person who knows the case and not the format. Text that comes from the bundle is escaped.
func (v *Verdict) Text() string {
	var p page
	v.heading(&p)
	v.answers(&p)
	p.failures(v.rules(), v.Checks)
	v.outside(&p)
	if v.Check(CheckChain).Result != NotRun { // otherwise the records were not examined to their end
		v.sources(&p)
		v.contents(&p)
		v.producers(&p)
		v.receipts(&p)
		v.lists(&p)
		v.times(&p)
		v.limits(&p)
	}
	p.checks(v.rules(), v.Checks, v.Exit)
	return p.String()
}

// rules are those of its checks.
func (v *Verdict) rules() []rule { return rulesWith(len(v.Checks) > len(rules)) }

// page is text under construction.
type page struct{ strings.Builder }

func (p *page) section(title string) {
	if p.Len() > 0 {
		p.WriteByte('\n')
	}
	p.line("%s", title)
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// item is an indented line.
func (p *page) item(format string, args ...any) { p.line("  "+format, args...) }

// row is a name and what is said of it.
func (p *page) row(name, format string, args ...any) {
	p.item("%-14s%s", name, fmt.Sprintf(format, args...))
}

func instantText(i Instant) string {
	return time.Unix(0, int64(i)).UTC().Format("2006-01-02 15:04:05.999999999 UTC")
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (v *Verdict) heading(p *page) {
	p.section("EVIDENCE BUNDLE")
	s := v.Scope
	if s == nil {
		p.item("What this file claims to be was not read: see below.")
		return
	}
	p.row("tenant", "%s", event.Escape(s.Tenant))
	p.row("log", "%s", event.Escape(s.Origin))
	v.part(p)
	p.row("received", "from %s", instantText(s.From))
	p.row("", "until %s (not included)", instantText(s.To))
	if s.Grace > 0 {
		p.row("", "and what arrived after that until %s", instantText(s.until()))
	}
	if s.records() == 0 {
		p.row("records", "none")
	} else {
		p.row("records", "%d, numbered %d to %d in the log", s.records(), s.Begin, s.End-1)
	}
	p.row("exported", "%s by %s", v.exportedAt(), quoted(s.Requester))
	p.row("purpose", "%s", quoted(s.Purpose))
}

// exportedAt is what the first of those who handled the bundle says.
func (v *Verdict) exportedAt() string {
	if len(v.Custody) == 0 {
		return "(not stated)"
	}
	return instantText(v.Custody[0].At)
}

func quoted(text string) string {
	if text == "" {
		return "(not stated)"
	}
	return "“" + event.Escape(text) + "”"
}

// meanings say each answer to a person.
var meanings = map[string]map[string]string{
	"integrity": {
		Intact:  "The bundle is as it was exported, and all its parts fit together.",
		Broken:  "The bundle was altered, or its parts do not fit together.",
		Unknown: "Not everything could be examined.",
	},
	"authenticity": {
		Authentic:    "The log, and every producer's signature, rests on the keys that the policy names.",
		NotAuthentic: "Something in the bundle does not rest on the keys that the policy names.",
		NoClaim:      "Nobody vouches for the bundle: there is no policy to hold it against, or not everything could be examined.",
	},
	"completeness": {
		Complete: "Everything that the log received in the period is here, and no producer that reported in it left numbers out.",
		OpenTail: "Everything that the log received in the period is here. It is not shown that this is everything that was sent.",
		Gaps:     "Everything that the log received in the period is here, but records that producers numbered never arrived.",
		NoClaim:  "It is not shown that everything is here.",
	},
	ofInstance: {
		Complete: "Everything that the log filed under this instance in the period is here, and none of its producers left numbers out.",
		OpenTail: "Everything that the log filed under this instance in the period is here. It is not shown that this is everything that was sent.",
		Gaps:     "Everything that the log filed under this instance in the period is here, but records that its producers numbered never arrived.",
		NoClaim:  "It is not shown that everything of this instance is here.",
	},
	ofRun: {
		Complete: "Every record of this task is here, from its first number to the one that ends it.",
		OpenTail: "The records of this task that are here follow each other. It is not shown that they are all, from beginning to end.",
		Gaps:     "Records of this task are missing: they never arrived, came before the period, or cannot be read.",
		NoClaim:  "It is not shown that everything of this task is here.",
	},
	"time": {
		AnchoredNot:   "Times are those of the log itself.",
		AnchoredByLog: "The operator's clock confirms the state of the log.",

		AnchoredByStamp:     "A time-stamp authority confirms that the state of the log existed then.",
		AnchoredByWitnesses: "%d of %d witnesses confirm the state of the log, its time, and that they have seen no other history of it.",
	},
}

func (v *Verdict) answers(p *page) {
	p.section("ANSWERS")
	for _, a := range [][3]string{
		{"integrity", v.Integrity, "integrity"},
		{"authenticity", v.Authenticity, "authenticity"},
		{"completeness", v.Completeness, v.completenessOf()},
	} {
		p.item("%-14s%-14s%s", a[0], strings.ToUpper(a[1]), meanings[a[2]][a[1]])
	}
	answer, meaning := v.timeAnswer()
	p.item("%-14s%-14s%s", "time", strings.ToUpper(answer), meaning)
	v.rests(p)
	v.proofs(p)
	if v.Policy != "" {
		p.row("policy", "compare by telephone: %s", v.Policy)
	}
}

// failures says which record, what failed, and what cannot be concluded.
func (p *page) failures(rules []rule, checks []Check) {
	if !slices.ContainsFunc(checks, func(c Check) bool { return c.Result == Failed }) {
		return
	}
	p.section("WHAT FAILED")
	for i, c := range checks {
		if c.Result != Failed {
			continue
		}
		p.item("%s", rules[i].failure)
		if len(c.Records) > 0 {
			p.item("  %s", recordList(&c))
		} else if file := c.file(); file != "" {
			p.item("  In the file %s.", file)
		}
		p.item("  %s", rules[i].therefore)
	}
}

// file is the file of a bundle that the first failure is about, where it says so.
func (c *Check) file() string {
	name, _, _ := strings.Cut(c.Detail, ":")
	if slices.ContainsFunc(layout, func(m member) bool { return m.name == name }) {
		return name
	}
	return ""
}

func recordList(c *Check) string {
	var list strings.Builder
	for i, r := range c.Records {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "%d", r)
	}
	word, more := "Records", ""
	if len(c.Records) == 1 {
		word = "Record"
	}
	if len(c.Records) == maxShown && c.Failures > maxShown {
		more = " and others"
	}
	return fmt.Sprintf("%s %s%s.", word, list.String(), more)
}

// said is a number of records and what is said of them.
type said struct {
	count uint64
	what  string
}

// words say who says so.
func (n *Vantage) words() []said {
	return []said{
		{n.SelfReported, "reported by the agents about themselves"},
		{n.GatewayObserved, "observed from the side of the tools"},
		{n.Imported, "made elsewhere and brought in later"},
		{n.Custody, "made by Custody about its own acts"},
		{n.Unattributed, "of nobody who was admitted at that place"},
	}
}

func (v *Verdict) sources(p *page) {
	p.section("WHO SAYS SO")
	n := &v.Vantage
	for _, s := range n.words() {
		if s.count > 0 {
			p.item("%s %s", count(s.count, "record", "records"), s.what)
		}
	}
	if *n == (Vantage{}) {
		p.item("no records")
	}
	v.arrived(p)
	for _, j := range judgements {
		if n := v.Verdicts[j.verdict.String()]; n > 0 {
			p.item("of these, %s %s", count(n, "record", "records"), j.what)
		}
	}
}

// judgements are the verdicts that a person should know of.
var judgements = []struct {
	verdict chain.Verdict
	what    string
}{
	{chain.Gap, "came after others that never arrived, or arrived later"},
	{chain.Late, "arrived after later ones"},
	{chain.KeyInvalid, "signed with a key that did not count any more, or not yet"},
	{chain.Equivocation, "telling numbers that were used before in another way"},
	{chain.Malformed, "that could not be read when they arrived"},
}

func (v *Verdict) contents(p *page) {
	p.section("CONTENT")
	d := &v.Records
	p.item("%s with their plain content", count(d.Clear, "record", "records"))
	for _, s := range []struct {
		count uint64
		what  string
	}{
		{d.Held, "kept closed because a secret was found in it"},
		{d.Withheld, "left out by the exporter"},
		{d.Expired, "no longer kept"},
	} {
		if s.count > 0 {
			p.item("%s %s", count(s.count, "record", "records"), s.what)
		}
	}
	p.item("sealed content: %d disclosed, %d withheld, %d erased", d.FieldsDisclosed, d.FieldsWithheld, d.FieldsErased)
	for i, r := range v.Redactions {
		if i == maxLines {
			p.item("and %d more reasons", len(v.Redactions)-i)
			break
		}
		p.item("withheld because of %s: %s", quoted(r.Reason), count(r.Fields+r.Records, "item", "items"))
	}
}

// producerLines counts the producers of whom nothing is to be said, and says what is of the others.
func (v *Verdict) producerLines() (whole uint64, lines []string) {
	for i := range v.Emitters {
		if e := &v.Emitters[i]; !e.gaps() && !e.open() && e.Equivocations == 0 && e.Late == 0 {
			whole++
		} else {
			lines = append(lines, e.text())
		}
	}
	return whole, lines
}

func (v *Verdict) producers(p *page) {
	p.section("PRODUCERS")
	whole, lines := v.producerLines()
	p.item("%s with nothing missing, from beginning to end", count(whole, "producer", "producers"))
	for i, l := range lines {
		if i == maxLines {
			p.item("and %d more", len(lines)-i)
			break
		}
		p.item("%s", l)
	}
	if v.SilentKeys > 0 {
		p.item("%s that could have reported did not", count(uint64(v.SilentKeys), "producer", "producers"))
	}
}

// lists says how long the lists for sampling are and what the controls say, as far as both follow from the records.
func (v *Verdict) lists(p *page) {
	if v.Check(CheckPopulation).Result == Passed {
		p.section("LISTS FOR SAMPLING")
		for i := range populations {
			p.item("%8d  %s", v.Populations[populations[i].file], populations[i].what)
		}
		if n := v.Records.unlisted(); n > 0 {
			p.item("On none of them: %s without plain content. What they would have been is not known from here.", count(n, "record", "records"))
		}
	}
	if v.Check(CheckControls).Result == Passed {
		p.section("CONTROLS")
		p.item("%8d  supported by these records", v.Controls.Supported)
		p.item("%8d  with an exception: a record that is not as it should be", v.Controls.Exceptions)
		p.item("%8d  not evidenced: these records say nothing, or not enough", v.Controls.NotEvidenced)
		p.item("Which ones, and on which records, stands in %s. No control is declared passed: that is for people to judge.", fileControls)
		if !v.Controls.Known {
			p.item("The questions behind the controls are the bundle's own. They are not those of this program, and may be weaker.")
		}
	}
}

// text says what is remarkable about an emitter.
func (e *Emitter) text() string {
	said := []string{fmt.Sprintf("%s (key %s…):", event.Escape(e.Instance), e.KeyID.String()[:16])}
	if missing := e.missing(); missing > 0 {
		said = append(said, count(missing, "record never arrived;", "records never arrived;"))
	}
	if e.Skipped {
		said = append(said, "records are missing and nothing says how many;")
	}
	if e.Late > 0 {
		said = append(said, count(e.Late, "record arrived late;", "records arrived late;"))
	}
	if e.Equivocations > 0 {
		said = append(said, count(e.Equivocations, "message tells used numbers in another way;", "messages tell used numbers in another way;"))
	}
	if e.Begins == beginClaimed {
		said = append(said, "nothing shows what came before the period;")
	}
	if slices.ContainsFunc(e.Epochs, func(x Epoch) bool { return x.Ends == endOpen }) {
		said = append(said, "nothing shows that its last record here was its last;")
	}
	return strings.TrimSuffix(strings.Join(said, " "), ";")
}

// missing is the number of events that never came.
func (e *Emitter) missing() (n uint64) {
	for _, ep := range e.Epochs {
		for _, s := range ep.Missing {
			n += s[1] - s[0] + 1
		}
	}
	return n
}

// limits says what cannot be concluded from a bundle in which nothing failed.
func (v *Verdict) limits(p *page) {
	p.section("WHAT THIS DOES NOT SHOW")
	for _, l := range v.limitWords() {
		p.item("%s", l)
	}
	p.item("That %s in the bundle is right: whoever exported it wrote that page, and its words were not compared with the records.", fileReport)
	for _, s := range v.Suspects {
		p.item("That records %d to %d of %s are its own: its key may have been in other hands.", s.From, s.To, event.Escape(s.Instance))
	}
}

func (v *Verdict) limitWords() []string {
	list := []string{"That the producers reported everything they did. One that reports nothing is noticed only by another observer."}
	for _, l := range []struct {
		holds bool
		what  string
	}{
		{v.Authenticity != Authentic, "Who made these records: see above."},
		{v.SilentKeys > 0, "That producers which reported nothing in the period had nothing to report: their numbers before and after it are not shown."},
		{v.Vantage.SelfReported > 0, "That what an agent reports about itself is true. It shows that the agent's key said so, and when it arrived."},
		{v.Vantage.Imported > 0, "That imported records were made when and by whom they say: the importer vouches for them, not the agent."},
		{v.Anchoring == AnchoredNot, "That the log's times are right: nobody outside confirms them. The order of the records does not rest on them."},
		{v.EndOfLog, "What was received after the last record here: the period reaches to the end of the log."},
		{v.Completeness == OpenTail, "That the producers named above sent nothing more."},
		{v.Completeness == Gaps, "What the records said that never arrived."},
		{v.Records.FieldsWithheld+v.Records.Withheld+v.Records.Held > 0, "What withheld or closed content says: only that it has not changed."},
		{v.Records.Expired > 0, "What the records said that are no longer kept: only that they have not changed."},
		{v.Records.FieldsErased > 0, "What erased content said: nobody can open it any more."},
		{v.Receipts != nil && v.Receipts.Undecided > 0, "Whether the log keeps what some of the receipts are for: see there."},
		{v.Clock.Ahead > 0, count(v.Clock.Ahead, "record claims", "records claim") + " to have happened more than five minutes after it was received."},
		{v.Clock.Behind > 0, count(v.Clock.Behind, "record claims", "records claim") + " to be made before something that its batch refers to: its time is wrong."},
	} {
		if l.holds {
			list = append(list, l.what)
		}
	}
	return append(list, v.limitsOfPart()...)
}

func (p *page) checks(rules []rule, checks []Check, exit int) {
	p.section("CHECKS")
	for i, c := range checks {
		p.item("%-12s %-16s %s", c.Result, c.Name, rules[i].what)
	}
	p.item("exit code %d", exit)
}
