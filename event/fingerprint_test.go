package event_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

var fpKey = []byte("0123456789abcdef0123456789abcdef")

// prints are the fingerprints of a text.
func prints(text string) []string { return hexes(event.Fingerprints(fpKey, 1, "p", []byte(text), nil)) }

func hexes(fps []*eventv1.Fingerprint) []string {
	list := make([]string, len(fps))
	for i, f := range fps {
		list[i] = fmt.Sprintf("%x", f.Value)
	}
	return list
}

// of are the fingerprints of values that are normalised already.
func of(values ...string) []string {
	list := []string{}
	for _, v := range values {
		mac := hmac.New(sha256.New, fpKey)
		mac.Write([]byte(v))
		list = append(list, fmt.Sprintf("%x", mac.Sum(nil)[:8]))
	}
	slices.Sort(list)
	return list
}

func manyCodes(from, n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "INV-2024-%05d\n", from+i)
	}
	return []byte(b.String())
}

func TestDistinctiveValues(t *testing.T) {
	for text, want := range map[string][]string{
		"":    {},
		prose: {},
		"Write to Bob.Smith+x@Corp.example. Or <bob@corp.com>,": {"bob.smith+x@corp.example", "bob@corp.com"},
		"mailto:bob@corp.com user@localhost @bob a@b":           {"bob@corp.com"},
		"邮箱foo@bar.com联系 “foo2@bar.com”":                        {"foo@bar.com", "foo2@bar.com"},
		"https://www.Evil.example:443/Collect/?":                {"evil.example", "evil.example/collect"},
		"(see http://user:pw@evil.example/a#frag).":             {"evil.example", "evil.example/a"},
		"evil.example/a and Evil.example.":                      {"evil.example", "evil.example/a"},
		"https://a.example/?to=bob%40corp.com&acct=12345678":    {"a.example", "a.example/?to=bob%40corp.com&acct=12345678", "bob@corp.com", "12345678"},
		"https://a.example/?u=https://b.example/INV-2024-00017": {"a.example", "a.example/?u=https://b.example/inv-2024-00017", "b.example", "b.example/inv-2024-00017"},
		"http://localhost:8080/health http://127.0.0.1/":        {"localhost:8080/health"},
		"DE89 3704 0044 0532 0130 00 now":                       {"de89370400440532013000"},
		"iban:de89370400440532013000.":                          {"de89370400440532013000"},
		"GB29 NWBK 6016 1331 9268 19":                           {"gb29nwbk60161331926819"},
		"DE00 3704 0044 0532 0130 00 is none":                   {"370400440532013000"},
		"card 4111 1111 1111 1111, 4111-1111-1111-1111":         {"4111111111111111"},
		"+49 (30) 123-456\n0049 30 123456\n+4930123456":         {"4930123456"},
		"account 00012345678 or 12345678":                       {"12345678"},
		"555-1234 and 1 555 123 4567 ":                          {"5551234", "15551234567"},
		"2024-05-13 14:22:01, 2024-05-13T14:22:01Z":             {},
		"13.05.2024; 5/13/24; 20240513; 20240513T142201Z":       {},
		"in 2019-2020 it was 3.14159265 and 1,234,567.89 or 42": {},
		"1234567.89":                                             {"1234567"},
		"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16":                 {},
		"192.168.1.77 127.0.0.1 0.0.0.0 1.2.3 300.1.2.3":         {"192.168.1.77"},
		"/etc/passwd.d/x, C:\\Users\\Bob\\report.docx":           {"/etc/passwd.d/x", "c:/users/bob/report.docx"},
		"./src/main.go:12 src/Main.go ../a/b/c.txt":              {"src/main.go", "../a/b/c.txt"},
		"and/or he/she application/json 1/2 text/plain n/a":      {},
		"550E8400-e29b-41d4-a716-446655440000":                   {"550e8400e29b41d4a716446655440000"},
		"urn:uuid:550e8400-e29b-41d4-a716-446655440000":          {"550e8400e29b41d4a716446655440000"},
		"order INV-2024-00017, booking A4B7K9":                   {"inv-2024-00017", "a4b7k9"},
		"sha256:9f86d081884c7d659a2feaa0c55ad015":                {"9f86d081884c7d659a2feaa0c55ad015"},
		"x86_64 utf-8 windows2000 FY-2024 mp3 1080p 3rd covid19": {},
		"logger.info file.md readme.txt e.g. 10.5 U.S. www":      {},

		`{"to":"Bob@corp.com","n":12345678}`:                             {"bob@corp.com", "12345678"},
		`{"url":"https:\/\/evil.example\/a","t":"x\nfoo\u0040bar.com"}`:  {"evil.example", "evil.example/a", "foo@bar.com"},
		`{"bob@corp.com":1,"iso3166_2_code_55":"x","account_1234567":2}`: {"bob@corp.com"},
		`["4111","1111","1111","1111"]`:                                  {},
		`{"a":"{\"b\":\"{\\\"c\\\":\\\"bob\\u0040corp.com\\\"}\"}"}`:     {"bob@corp.com"},
		"{\"a\":\"INV-2024-00017\"}\n{\"a\":\"INV-2024-00018\"}\n":       {"inv-2024-00017", "inv-2024-00018"},
		`{"broken": "bob@corp.com`:                                       {"bob@corp.com"},
		`[see] "C:\new\file.txt"`:                                        {"c:/new/file.txt"},
		`{"a":"` + "\\ud83d\\ude00" + `bob@corp.com\ud83d"}`:             {"bob@corp.com"},
	} {
		if diff := cmp.Diff(of(want...), prints(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// distinctive draws one value as people write it.
var distinctive = rapid.Custom(func(t *rapid.T) string {
	digits := rapid.StringMatching(`[1-9][0-9]{8,12}`)
	switch rapid.IntRange(0, 5).Draw(t, "sort") {
	case 0:
		return rapid.StringMatching(`[a-z]{2,8}[0-9]{0,3}@[a-z]{3,9}\.(com|example|net)`).Draw(t, "address")
	case 1:
		return "https://" + rapid.StringMatching(`[a-z]{3,9}\.example/[a-z]{1,9}/[a-z0-9]{1,9}`).Draw(t, "url")
	case 2:
		return rapid.StringMatching(`[A-Z]{3}-[0-9]{6}`).Draw(t, "code")
	case 3:
		return "+" + digits.Draw(t, "phone")
	case 4:
		return rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{11}f`).Draw(t, "uuid")
	}
	return "/home/" + rapid.StringMatching(`[a-z]{2,8}/[a-z]{2,8}\.txt`).Draw(t, "path")
})

func TestSameValueWrittenDifferently(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := distinctive.Draw(t, "value")
		want := prints(v)
		if len(want) == 0 {
			t.Fatalf("%q has no fingerprint", v)
		}
		quoted, err := json.Marshal(map[string]any{"a": map[string]any{"value": v}, "n": 3})
		if err != nil {
			t.Fatal(err)
		}
		nested, err := json.Marshal([]string{string(quoted)})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			strings.ToUpper(v), v + ".", v + ",", "(" + v + ")", "“" + v + "”", "It is " + v + "! Not", v + "\n" + v, "<" + v + ">",
			string(quoted), string(nested), strings.ReplaceAll(string(quoted), "/", `\/`), "value=" + v, "\t" + v + ";",
		} {
			if diff := cmp.Diff(want, prints(text)); diff != "" {
				t.Fatalf("%q in %q (-alone +there):\n%s", v, text, diff)
			}
		}
	})
}

func TestFingerprintsDoNotDependOnOrderOrRepetition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(distinctive, 1, 200).Draw(t, "lines")
		want := prints(strings.Join(lines, "\n"))
		shuffled := rapid.Permutation(append(slices.Clone(lines), lines...)).Draw(t, "shuffled")
		if diff := cmp.Diff(want, prints(strings.Join(shuffled, "\n"))); diff != "" {
			t.Fatal(diff)
		}
		if !slices.IsSorted(want) || len(slices.Compact(want)) != len(want) || len(want) > event.MaxFingerprintsPerValue {
			t.Fatalf("%d fingerprints, not unique, ascending and within the limit", len(want))
		}
	})
}

// TestFingerprintsOfSharedContentOverlap: where there are too many, two texts keep the same ones.
func TestFingerprintsOfSharedContentOverlap(t *testing.T) {
	a, b := prints(string(manyCodes(0, 600))), prints(string(manyCodes(200, 600)))
	shared := 0
	for _, f := range a {
		if slices.Contains(b, f) {
			shared++
		}
	}
	if len(a) != event.MaxFingerprintsPerValue || shared < len(a)/3 {
		t.Errorf("%d of %d shared", shared, len(a))
	}
}

func TestFingerprintsNeedTheKey(t *testing.T) {
	other := hexes(event.Fingerprints([]byte("another key of thirty-two bytes!"), 1, "p", []byte("bob@corp.com"), nil))
	if slices.Equal(prints("bob@corp.com"), other) {
		t.Error("the key does not matter")
	}
}

func FuzzFingerprints(f *testing.F) {
	f.Add([]byte(`{"a":"https:\/\/evil.example\/?q=bob%40corp.com","b":"DE89 3704 0044 0532 0130 00"} +49 (30) 123-456`))
	f.Add([]byte(`"\ud83d\u00e9\\" C:\x\y 192.168.1.77/24 550E8400-e29b-41d4-a716-446655440000`))
	f.Fuzz(func(t *testing.T, b []byte) {
		reused := event.NewFingerprinter(fpKey, 1)
		first := hexes(reused.Append(nil, "p", b))
		if again := hexes(reused.Append(nil, "p", b)); !slices.Equal(first, again) {
			t.Fatalf("%q: %v, then %v", b, first, again)
		}
		if !slices.IsSorted(first) || len(slices.Compact(first)) != len(first) {
			t.Fatal("not unique and ascending")
		}
	})
}

// TestFingerprintIsAnHMAC: of the normalised value, under keys of any length.
func TestFingerprintIsAnHMAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "key")
		text := "a1@" + rapid.StringMatching(`[a-z]{1,80}`).Draw(t, "host") + ".example"
		got := event.Fingerprints(key, 1, "p", []byte(text), nil)
		want := hmac.New(sha256.New, key)
		want.Write([]byte(text))
		if len(got) != 1 || !bytes.Equal(got[0].GetValue(), want.Sum(nil)[:event.FingerprintSize]) {
			t.Fatalf("%q: %v", text, got)
		}
	})
}
