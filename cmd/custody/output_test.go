package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestJSONShapes(t *testing.T) {
	id := make([]byte, event.IDSize)
	id[0], id[6], id[8] = 1, 0x70, 0x80
	tests := map[string]struct {
		m    proto.Message
		want string
	}{
		"answer, empty": {&apiv1.KeyInfo{}, `{"key_id":"","instance":"","producer":"","valid_from":0,"valid_to":0,"revoked":false,"suspect_from":0,"suspect":false}`},
		"answer":        {&apiv1.GrantInfo{Name: "dana", Role: eventv1.Role_ROLE_AUDITOR, Certificate: []byte{0xab}}, `{"name":"dana","tenant":"","role":"auditor","certificate":"ab"}`},
		"map, sorted":   {&apiv1.StatusResponse{Counters: map[string]uint64{"b": 2, "a": 1 << 60}}, `"counters":{"a":1152921504606846976,"b":2}`},
		"times":         {&apiv1.InstanceInfo{LastSeenAt: 1_700_000_000_000_000_001}, `"last_seen_at":"2023-11-14T22:13:20.000000001Z"`},
		"no time":       {&apiv1.InstanceInfo{}, `"labels":null,"manifest_version":0,"last_seen_at":null`},
		"list":          {&apiv1.ListTenantsResponse{}, `{"tenants":[]}`},
		"event": {
			&eventv1.Event{Id: id, Tenant: "acme", Trust: eventv1.Trust_TRUST_UNTRUSTED, Body: &eventv1.Event_Approval{Approval: &eventv1.Approval{SubjectEvent: id}}},
			`{"id":"01000000-0000-7000-8000-000000000000","tenant":"acme","trust":"untrusted","approval":{"subject_event":"01000000-0000-7000-8000-000000000000"}}`,
		},
		"no escapes for HTML": {&apiv1.GrantInfo{Name: "<a&b>"}, `"<a&b>"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			a := &app{out: &output{w: &out}, format: formatJSONL}
			if err := a.printJSON(messageJSON(test.m.ProtoReflect())); err != nil || !strings.Contains(out.String(), test.want) {
				t.Errorf("got %s%v, want %s", out.String(), err, test.want)
			}
		})
	}
}

func TestListsAreLinesInJSONL(t *testing.T) {
	list := &apiv1.ListTenantsResponse{Tenants: []*apiv1.TenantInfo{{Tenant: "a"}, {Tenant: "b"}}}
	for format, want := range map[outputFormat]int{formatJSONL: 2, formatJSON: 18} {
		var out strings.Builder
		a := &app{out: &output{w: &out}, format: format}
		if err := a.result(list, func(io.Writer) {}); err != nil || strings.Count(out.String(), "\n") != want {
			t.Errorf("%s: %v\n%s", format, err, out.String())
		}
	}
}

// FuzzVisible: on a terminal only what shows itself, and for a program the same text.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J", "\u202eknird", "\u0085\U000e0041", "日本語 \U0001f600", "a\\u001b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		shown := visible(string(raw))
		if event.Escape(shown) != shown {
			t.Errorf("not visible: %q", shown)
		}
		var got string
		if err := json.Unmarshal([]byte(shown), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && got != decoded(t, raw) {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	})
}

func decoded(t *testing.T, raw []byte) (s string) {
	t.Helper()
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWord(t *testing.T) {
	for s, want := range map[string]string{
		"":                    `""`,
		"send_email":          "send_email",
		"https://a.example/x": "https://a.example/x",
		"two words":           `"two words"`,
		"[trusted]":           `"[trusted]"`,
		`a"b`:                 `"a\x22b"`,
		"a\nb":                `"a\nb"`,
		"(also":               `"(also"`,
		"──▶":                 `"──▶"`,
		"日本":                  "日本",
	} {
		if got := word(s); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
}

// FuzzWord: whatever it is, it stays on its line, in its place.
func FuzzWord(f *testing.F) {
	f.Add("send_email")
	f.Add("x  [trusted]\n\x1b[2J\u2066")
	f.Fuzz(func(t *testing.T, s string) {
		got := word(s)
		bare := !strings.HasPrefix(got, `"`)
		if event.Escape(got) != got || bare && strings.IndexFunc(got, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`"[](){}`, r) }) >= 0 {
			t.Errorf("%q is shown as %s", s, got)
		}
		if !bare && strings.Count(got, `"`) != 2 {
			t.Errorf("%q can end its quotes: %s", s, got)
		}
	})
}

func TestGridHasNoSpacesAtTheEnd(t *testing.T) {
	g := newGrid("name", "x")
	g.row("a much longer name", "-")
	g.row("b", "yes")
	var out strings.Builder
	g.print(&out)
	want := "NAME                X\na much longer name  -\nb                   yes\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// TestAFullDiskIsNoSuccess: what could not be written makes the command fail.
func TestAFullDiskIsNoSuccess(t *testing.T) {
	var problems strings.Builder
	if code := execute(t.Context(), []string{"edge", "--example"}, strings.NewReader(""), full{}, &problems); code == exitOK || problems.Len() == 0 {
		t.Errorf("exit code %d, %q", code, problems.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestProgressIsForTerminals: nothing is drawn into a file.
func TestProgressIsForTerminals(t *testing.T) {
	var out strings.Builder
	bar := (&app{err: &out}).progress("check")
	bar.show("%d events", 7)
	bar.done()
	if out.Len() > 0 {
		t.Errorf("wrote %q", out.String())
	}
}

func FuzzParseTicket(f *testing.F) {
	f.Add(ticket{Token: "custody-join_acme_a_agent_00", Address: "127.0.0.1:7443", CA: []byte("pem")}.String())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, s string) {
		read, err := parseTicket(s)
		if err != nil {
			return
		}
		again, err := parseTicket(read.String())
		if diff := cmp.Diff(read, again, cmp.AllowUnexported(ticket{})); err != nil || diff != "" && len(read.CA)+len(again.CA) > 0 {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31 12:00:00", "24h", "-1h", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ns, err := parseTime(s); err != nil && ns != 0 {
			t.Errorf("%q: %d and %v", s, ns, err)
		}
	})
}
