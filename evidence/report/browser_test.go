//go:build e2e

package report_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/evidence/report"
)

var pictures = flag.String("pictures", "", "a folder for pictures and prints of the pages, to look at")

// mark is in every text that somebody else wrote, in the page of [filled].
const mark = "§"

// harmless and hostile fill each text of a page: the second with what a page must not obey, and with words that no line holds.
var (
	harmless = mark + "word"
	hostile  = mark + strings.Join([]string{
		`<script>document.title="owned"</script><img src=http://example.com/a.png onerror=alert(1)><svg onload=alert(2)>`,
		`"'></bdi></td></table></title></style><b>COMPLETE</b><a href="javascript:alert(3)">here</a><base href="http://example.com/">`,
		`<meta http-equiv="refresh" content="0;url=http://example.com/"><link rel=stylesheet href=http://example.com/b.css><iframe src=http://example.com>`,
		`<style>@import url(http://example.com/c.css);*{display:none}</style><form action=http://example.com><input autofocus onfocus=alert(4)></form>`,
		`--><!--`, "{{.Tenant}}", "\u202eetelpmoc\u2066", "\x1b[31mred\x1b[0m\x00", "\u200bnothing\u2028", "שלום عليكم",
	}, " ") + strings.Repeat("W", 300)
)

// filled is a page with a text in every place that has room for one, and several of everything that there can be several of.
func filled(t *testing.T, text string) []byte {
	t.Helper()
	var d report.Data
	fill(reflect.ValueOf(&d).Elem(), text)
	page, err := report.HTML(&d)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// states are those of a control, in turn.
var states = []string{"supported", "exception", "not-evidenced"}

const many = 3 // of each thing: as many as there are states

func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), many, many))
		for i := range many {
			fill(v.Index(i), text)
			if s := v.Index(i); s.Kind() == reflect.Struct && s.FieldByName("State").IsValid() {
				s.FieldByName("State").SetString(states[i])
			}
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(18446744073709551615)
	case reflect.String:
		if v.Type() == reflect.TypeFor[report.Text]() {
			v.SetString(text)
		} else {
			v.SetString("2026-03-02 09:10:00 UTC")
		}
	}
}

// pages are those that the package ships, and the two that are filled.
func pages(t *testing.T) map[string]string {
	t.Helper()
	dir, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"report": filepath.Join(dir, "report.html"), "incident": filepath.Join(dir, "incident.html")}
	for name, text := range map[string]string{"hostile": hostile, "harmless": harmless} {
		files[name] = filepath.Join(t.TempDir(), name+".html")
		if err := os.WriteFile(files[name], filled(t, text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// skeleton are the elements of a page with their attributes, in order.
const skeleton = `[...document.documentElement.querySelectorAll("*")].map(e =>
	e.tagName + [...e.attributes].map(a => " " + a.name + (a.name == "class" || a.name == "data-label" ? "=" + a.value : "")).join(""))`

// What others wrote becomes no element, asks for nothing, and shows as text that is kept apart from the page's own, with and without scripts.
func TestNothingActs(t *testing.T) {
	b, files := launch(t), pages(t)
	for name, file := range files {
		said := map[bool]string{}
		for _, disabled := range []bool{false, true} {
			b.call("Emulation.setScriptExecutionDisabled", object{"value": disabled}, nil)
			b.visit(file)
			b.quiet(name, file)
			var text string
			b.ask(`document.body.innerText`, &text)
			said[disabled] = text
		}
		if said[false] != said[true] || len(said[true]) < 1000 {
			t.Errorf("%s: says something else without scripts:\n%s", name, cmp.Diff(said[false], said[true]))
		}
	}
	want, got := b.elements(files["harmless"]), b.elements(files["hostile"])
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 300 {
		t.Errorf("hostile text made elements (of %d):\n%s", len(got), diff)
	}
}

// quiet holds that a page has asked for its own file, and done nothing else that a browser tells.
func (b *chromium) quiet(name, file string) {
	b.t.Helper()
	var asked []string
	for _, p := range b.params("Network.requestWillBeSent") {
		var r struct{ Request struct{ URL string } }
		if err := json.Unmarshal(p, &r); err != nil {
			b.t.Fatal(err)
		}
		asked = append(asked, r.Request.URL)
	}
	if diff := cmp.Diff([]string{"file://" + file}, asked); diff != "" {
		b.t.Errorf("%s: asks for something: %s", name, diff)
	}
	for _, event := range []string{"Page.javascriptDialogOpening", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.windowOpen", "Page.frameAttached"} {
		for _, p := range b.params(event) {
			b.t.Errorf("%s: %s: %s", name, event, p)
		}
	}
}

func (b *chromium) elements(file string) (list []string) {
	b.t.Helper()
	b.visit(file)
	b.ask(skeleton, &list)
	return list
}

// outside are texts of others that no element keeps apart. The title is no part of the text.
const outside = `(() => {
	const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), list = [];
	for (let n; n = all.nextNode();) if (n.data.includes("` + mark + `") && !n.parentElement.closest("bdi")) list.push(n.parentElement.outerHTML.slice(0, 100));
	return list;
})()`

// Letters that run from right to left turn nothing around but their own text.
func TestTextsOfOthersAreKeptApart(t *testing.T) {
	b, files := launch(t), pages(t)
	b.visit(files["hostile"])
	var list []string
	if b.ask(outside, &list); len(list) > 0 {
		t.Errorf("not in an element of their own:\n%s", strings.Join(list, "\n"))
	}
}

// beyond are elements and lines of text that reach over the right edge, and whether the page can be moved sideways.
const beyond = `(() => {
	const width = document.documentElement.clientWidth, list = [];
	if (document.documentElement.scrollWidth > width) list.push("scrolls to " + document.documentElement.scrollWidth);
	const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = all.nextNode();) {
		const r = document.createRange(); r.selectNodeContents(n);
		for (const box of r.getClientRects()) if (box.right > width + .5 || box.left < -.5) { list.push(box.right + ": " + n.data.slice(0, 60)); break; }
	}
	for (const e of document.body.querySelectorAll("*")) {
		if (e.getBoundingClientRect().right > width + .5 || (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)) list.push(e.tagName + " " + e.className);
		if (getComputedStyle(e).overflow != "visible") list.push("cut: " + e.tagName + " " + e.className);
	}
	return list;
})()`

// The width in CSS pixels (96 an inch) of what the margins of the page leave of paper.
const (
	a4     = (210 - 2*15) * 96 * 10 / 254
	letter = 8.5*96 - 2*15*96*10/254
)

// Nothing is cut off, on a telephone, on a desk, or on paper.
func TestNothingIsCutOff(t *testing.T) {
	b, files := launch(t), pages(t)
	for name, file := range files {
		b.visit(file)
		for _, at := range []struct {
			media string
			width int
		}{{"screen", 400}, {"screen", 740}, {"screen", 1400}, {"print", a4}, {"print", letter}} {
			b.medium(at.media, "light", at.width)
			var list []string
			if b.ask(beyond, &list); len(list) > 0 {
				t.Errorf("%s: %s of %d: %s", name, at.media, at.width, strings.Join(list, "\n"))
			}
			b.picture(fmt.Sprintf("%s-%s-%d", name, at.media, at.width))
		}
		b.medium("", "light", 1000)
		b.print(name)
	}
}

var pdfPage = regexp.MustCompile(`/Type\s*/Page\b`)

// print prints a page on A4 and looks at how many sheets came out, and of what size.
func (b *chromium) print(name string) {
	b.t.Helper()
	var r struct{ Data []byte }
	b.call("Page.printToPDF", object{"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true, "printBackground": false}, &r)
	sheets := len(pdfPage.FindAll(r.Data, -1))
	if !bytes.HasPrefix(r.Data, []byte("%PDF-")) || sheets < 3 || bytes.Count(r.Data, []byte("/MediaBox [0 0 59")) != sheets {
		b.t.Errorf("%s: %d sheets in %d bytes", name, sheets, len(r.Data))
	}
	b.keep(name+".pdf", r.Data)
}

// faint are texts whose contrast with what is behind them is under 4.5 to 1, with their colours
// (WCAG 2.2, 1.4.3: https://www.w3.org/TR/WCAG22/#contrast-minimum).
const faint = `(() => {
	const numbers = c => c.match(/[\d.]+/g).map(Number);
	const light = c => { const [r, g, b] = numbers(c).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, n = numbers(c); if (n.length < 4 || n[3] > 0) return c; } return "rgb(255, 255, 255)"; };
	const list = new Set(), all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = all.nextNode();) {
		if (!n.data.trim()) continue;
		const ink = getComputedStyle(n.parentElement).color, paper = behind(n.parentElement);
		const [dark, bright] = [light(ink), light(paper)].sort((x, y) => x - y);
		if ((bright + .05) / (dark + .05) < 4.5) list.add(ink + " on " + paper);
	}
	return [...list];
})()`

// On a dark screen as on a light one, and on paper whatever the screen is, every text can be read.
func TestEveryTextCanBeRead(t *testing.T) {
	b, files := launch(t), pages(t)
	for name, file := range files {
		b.visit(file)
		papers := map[string]string{}
		for _, at := range [][2]string{{"screen", "light"}, {"screen", "dark"}, {"print", "dark"}} {
			b.medium(at[0], at[1], 1000)
			var list []string
			if b.ask(faint, &list); len(list) > 0 {
				t.Errorf("%s: %s, %s: %v", name, at[0], at[1], list)
			}
			var paper string
			b.ask(`getComputedStyle(document.body).backgroundColor`, &paper)
			papers[at[0]+" "+at[1]] = paper
			b.picture(name + "-" + at[0] + "-" + at[1])
		}
		want := map[string]string{"screen light": "rgb(255, 255, 255)", "screen dark": "rgb(22, 24, 27)", "print dark": "rgb(255, 255, 255)"}
		if diff := cmp.Diff(want, papers); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// tallest is the height of a picture in CSS pixels: what the browser can draw at once.
const tallest = 12000

// picture keeps a picture of the page, or of its beginning, if pictures are asked for.
func (b *chromium) picture(name string) {
	b.t.Helper()
	if *pictures == "" {
		return
	}
	var r struct{ Data string }
	var width, height int
	b.ask(`innerWidth`, &width)
	b.ask(`document.documentElement.scrollHeight`, &height)
	b.call("Page.captureScreenshot", object{"captureBeyondViewport": true, "clip": object{"x": 0, "y": 0, "width": width, "height": min(height, tallest), "scale": 1}}, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(name+".png", data)
}

func (b *chromium) keep(name string, data []byte) {
	b.t.Helper()
	if *pictures == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*pictures, name), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
