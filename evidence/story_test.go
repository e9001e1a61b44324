package evidence

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestReport(t *testing.T) {
	page := string(unpack(t, office(t).bundle("00:00", "10:30", everyFramework))[fileReport])
	golden(t, filepath.Join("testdata", "report.html"), page)
	for _, want := range []string{
		"Send &#34;Your refund is on its way&#34; to &lt;ann@example.net&gt;?", "the arguments that were proposed", "No approval among these records",
		"answered after 1m0s", "numbered 0 to 15 in the log", "No control is declared passed",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("does not say %q", want)
		}
	}
	if words := jargon.FindAllString(visible(page), -1); words != nil {
		t.Errorf("a lawyer must read %q", words)
	}
}

var (
	tags    = regexp.MustCompile(`<[^>]*>`)
	styling = regexp.MustCompile(`(?s)<style>.*</style>`)
	active  = regexp.MustCompile(`(?i)<(script|img|iframe|object|embed|link|a|form|svg|base)\b|\son\w+=|\b(src|href|action)=|javascript:|url\(|@import`)
)

// visible is what a reader sees of a page.
func visible(page string) string {
	return tags.ReplaceAllString(styling.ReplaceAllString(page, ""), "")
}

// What the bundle withholds is not in the report.
func TestReportTellsNothingThatIsWithheld(t *testing.T) {
	for name, disclose := range map[string]Disclose{
		"everything": {Nothing: "not asked for"},
		"two fields": {Withhold: map[string]string{"shown": "privilege", "arguments": "privilege"}},
	} {
		page := string(unpack(t, office(t).bundle("00:00", "10:30", ExportOptions{Disclose: disclose}))[fileReport])
		if strings.Contains(page, "refund") || !strings.Contains(page, "not disclosed in this bundle") {
			t.Errorf("%s: the report discloses it:\n%s", name, page)
		}
	}
}

// hostile are texts that an agent, a tool or a requester may write. None of them may act, hide, or pass for the page's own words.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'; </style><script>alert(1)</script>`, `</title><svg onload=alert(1)>`,
	"</bdi><b>COMPLETE</b>", "{{.Tenant}} {{template \"acts\" .}}", "<!-- ", "]]>", "&lt;script&gt;", "javascript:alert(1)",
	"approved\u202elanigiro eht", "\u2066isolate\u2069", "\u200bzero\u200dwidth", "\x1b[31mred\x00", "line\nbreak\u2028and\u2029more", "\U000e0041tag",
}

func TestHostileReport(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	for _, text := range hostile {
		yes := a.consents(approved, "call-"+text, text, func(x *eventv1.Approval) { x.Approver, x.Reason, x.ShownDigest = text, text, nil })
		ask := a.execute(proposed, "call-"+text, text)
		a.seal(ask, "arguments", "customer", text)
		ask.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest
		a.seal(ask, "notes", "customer", text)
		run := a.execute(started, "call-"+text, text, func(e *eventv1.Event) {
			x := e.GetExecution()
			x.Operation, x.Destination, x.Connector, x.ArgumentsDigest, e.Principal = text, text, text, ask.Sealed[0].Digest, text
		})
		a.say(ask, yes, run)
	}
	w.clock("11:00").access()
	for _, text := range append(hostile, "bad \xff\xfe") {
		s := w.scope("08:30", "10:30")
		s.Requester, s.Purpose = text, text
		var b bytes.Buffer
		_, err := Export(t.Context(), &b, w, s, w.export, ExportOptions{
			Tool: Tool{Name: text}, Disclose: Disclose{Withhold: map[string]string{"notes": text}}, Dir: t.TempDir(),
		})
		w.must(err)
		if v := verify(t, b.Bytes(), w.policy()); v.Integrity != Intact {
			t.Fatal(details(v))
		}
		checkHarmless(t, string(unpack(t, b.Bytes())[fileReport]))
	}
}

func checkHarmless(t *testing.T, page string) {
	t.Helper()
	own := styling.ReplaceAllString(page, "")
	for _, tag := range tags.FindAllString(own, -1) {
		if active.MatchString(tag) {
			t.Errorf("acts: %q", tag)
		}
	}
	for _, c := range page {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Errorf("hides %U", c)
			break
		}
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-`) {
		t.Error("no policy")
	}
	if strings.Count(page, "<style>") != 1 || strings.Count(page, "</html>") != 1 || strings.Contains(page, "<b>") {
		t.Error("the page is not its own")
	}
}

// However much happens, the page stays one that a browser opens.
func TestReportIsBounded(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	long := strings.Repeat("\u202e", 20000)
	for range 2 * maxActs {
		ask := a.execute(proposed, "call", "mail")
		a.seal(ask, "arguments", "customer", long)
		ask.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest
		a.say(ask, a.execute(started, "call", strings.Repeat("t", 4000), func(e *eventv1.Event) { e.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest }))
	}
	w.clock("11:00").access()
	page := unpack(t, w.bundle("08:30", "10:30"))[fileReport]
	if len(page) > maxReport/4 || !bytes.Contains(page, []byte("And 50 more")) {
		t.Errorf("%d bytes", len(page))
	}
}
