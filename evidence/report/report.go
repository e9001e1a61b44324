// Package report makes the page of an evidence bundle that a person reads: report.html.
//
// The page is one file without scripts, images, fonts or links to elsewhere; it prints on A4 and Letter. It repeats what the other files
// of the bundle say and proves nothing itself, and says so at its top.
//
// # Trust
//
// Everything that an agent, a tool or a requester wrote is hostile. Such text has the type [Text], which shows itself only escaped:
// control, direction-changing and invisible characters become visible ([event.Escape]), a long text is cut, html/template escapes what HTML would
// read, each text is isolated from the direction of others, and a Content-Security-Policy forbids everything but the page's own
// style, which it names by hash.
package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the template and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
)

// maxText is the length in bytes at which a text is cut: some forty lines of a table's cell. The bundle has all of it.
const maxText = 2000

// maxEnd is the room for saying so.
const maxEnd = 40

// Text is what somebody wrote.
type Text string

// String is the text as it may be shown.
func (t Text) String() string {
	if len(t) > maxText+maxEnd {
		t = Cut([]byte(t))
	}
	return event.Escape(string(t))
}

// Cut copies a text, or its beginning, after which it says how much is missing.
func Cut(b []byte) Text {
	if len(b) <= maxText {
		return Text(b)
	}
	cut := maxText
	for cut > maxText-utf8.UTFMax && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return Text(fmt.Sprintf("%s … (%d bytes more)", b[:cut], len(b)-cut))
}

// Data is what the page says. Strings are words of this project; everything else is Text.
type Data struct {
	Tenant, Origin, Requester, Purpose, Tool Text
	From, To, ExportedAt                     string
	Instance, Run                            Text   // the only ones that are shown; empty if every one is
	Late                                     string // until when what arrived late is there too; empty if not
	Records, First, Last                     uint64 // First and Last are places in the log, if there are Records

	Answers    []Answer
	Sources    []Count
	Producers  []Text // what is remarkable about each, one line
	Contents   []Count
	Reasons    []Reason
	Lists      []List
	Unapproved Actions // of high consequence, started without a valid approval
	Approved   Actions // with one
	Frameworks []Framework
	Limits     []string

	Questions     Courses        // to approvers, by Custody's own records
	Contained     []*Containment // in the order of their first record
	MoreContained uint64         // records of others
	Cases         Courses        // of incidents

	Style  template.CSS // set by HTML
	Policy string
}

// Answer is one of the answers that are given apart from each other.
type Answer struct{ Question, Word, Means string }

// Count is so many of something.
type Count struct {
	N    uint64
	What string
}

// Reason is why something is withheld.
type Reason struct {
	Why Text
	N   uint64
}

// List is a file of populations/.
type List struct {
	File, What string
	Rows       uint64
}

// Actions are some, and how many more there are.
type Actions struct {
	Shown []Action
	More  uint64
}

// Action is one call of high consequence, beside what its approver was shown.
type Action struct {
	Record              uint64
	Received            string
	Instance, Principal Text
	Tool, Operation     Text
	Destination         Text
	Ran                 Content // its arguments
	Same                string  // whether they are those that were proposed

	Approval       string // what stood behind the start
	ApprovalRecord uint64
	Approver       Text
	Took           string  // from being shown to the answer, by the agent's clock
	Shown          Content // to the approver
}

// Content is sealed content, if it is disclosed.
type Content struct {
	Disclosed bool
	Text      Text
	Instead   string // why it is not here
}

// Courses are some things that went on for a while, and how many records there are of others.
type Courses struct {
	Shown []*Course
	More  uint64
}

// Course is one of them.
type Course struct {
	Name, About, For Text
	Ended            bool
	Steps            []Step
	More             uint64 // steps
}

// Step is what one record says of a course.
type Step struct {
	Record   uint64
	Received string
	What     string
	To       Text   // whom, or of what class
	Cited    []Text // what the step names
	Who, Why Text
}

// Containment is one containment, and how far each way of closing has come.
type Containment struct {
	Target, Level, Plan, By, Why, Second Text
	Record                               uint64 // the first
	BreakGlass                           bool
	Paths                                []*Path
	More                                 uint64 // records of other ways
}

// Path is one way that a containment closes: its four states, and the last one. Times are empty where a state is not among the records.
type Path struct {
	Path                                         Text // empty is the containment as a whole
	Requested, Delivered, Acknowledged, Verified string
	Last, LastAt                                 string
	Observer, Evidence                           Text
}

// Framework is a set of controls.
type Framework struct {
	Name, Source, Note Text
	Controls           []Control
}

// Control is one of them.
type Control struct {
	ID, Title, Note Text
	State           string // "supported", "exception" or "not-evidenced"
	Tests           []Test
}

// Test is a question about the records.
type Test struct {
	What, Select, Require          Text
	State                          string
	Population, Exceptions, Unseen uint64
	Events                         []string // ids: the exceptions, or some of the population if there are none
}

//go:embed report.html
var page string

//go:embed report.css
var style string

// HTML is the page.
func HTML(d *Data) ([]byte, error) {
	sum := sha256.Sum256([]byte(style))
	d.Style = template.CSS(style) //nolint:gosec // it is the file beside this one
	d.Policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	t, err := template.New("report").Parse(page)
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("make report: %w", err)
	}
	return b.Bytes(), nil
}
