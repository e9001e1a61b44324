package signer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/signer"
)

func witnessKey(n byte) string {
	return signer.CosignatureVKey(fmt.Sprintf("witness.example/w%d", n), key(n).Public())
}

// twoLevels is the example of https://c2sp.org/tlog-policy.
func twoLevels() string {
	text := "# the example of the specification\nlog " + signer.VKey(origin, key(1).Public()) + " https://log.example\n\n"
	for i, name := range []string{"X1", "X2", "X3", "Y1", "Y2", "Y3"} {
		text += fmt.Sprintf("\twitness %s  %s\n", name, witnessKey(byte(i+2)))
	}
	return text + "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

func parseQuorum(t testing.TB, text string) *signer.Quorum {
	t.Helper()
	q, err := signer.ParseQuorum([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQuorum(t *testing.T) {
	q := parseQuorum(t, twoLevels())
	if len(q.Logs) != 1 || q.Logs[0].Origin != origin || len(q.Witnesses) != 6 {
		t.Fatalf("read as %+v", q)
	}
	for _, test := range []struct {
		keys  []byte // 2 to 4 are X, 5 to 7 are Y
		met   bool
		count int
	}{
		{nil, false, 0},
		{[]byte{2, 3}, false, 2},
		{[]byte{2, 5}, false, 2},
		{[]byte{2, 3, 5}, true, 3},
		{[]byte{2, 2, 5}, false, 2},
		{[]byte{2, 4, 7, 9}, true, 3},
		{[]byte{5, 6, 7, 9, 10, 11}, false, 3},
		{[]byte{2, 3, 4, 5, 6, 7}, true, 6},
	} {
		have := map[signer.PublicKey]bool{}
		for _, k := range test.keys {
			have[key(k).Public()] = true
		}
		if met, n := q.Met(have), q.Count(have); met != test.met || n != test.count {
			t.Errorf("%v: met %v with %d, want %v with %d", test.keys, met, n, test.met, test.count)
		}
	}
	if none := parseQuorum(t, "quorum none\n"); !none.Met(nil) || none.Count(nil) != 0 {
		t.Error("no quorum asks for cosignatures")
	}
}

func TestQuorumLines(t *testing.T) {
	q := parseQuorum(t, "witness a "+witnessKey(2)+" https://a.example\nquorum a\n")
	if diff := cmp.Diff([]string{"witness a " + witnessKey(2) + " https://a.example", "quorum a"}, q.Lines(true)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"witness a " + witnessKey(2), "quorum a"}, q.Lines(false)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("group X-and-Y 2 X-witnesses Y-witnesses", parseQuorum(t, twoLevels()).Lines(false)[8]); diff != "" {
		t.Error(diff)
	}
}

func TestQuorumIsStrict(t *testing.T) {
	two := "witness a " + witnessKey(2) + "\nwitness b " + witnessKey(3) + "\n"
	many := strings.Builder{}
	for i := range 300 {
		fmt.Fprintf(&many, "group g%d any a\n", i)
	}
	for what, text := range map[string]string{
		"empty":                    "",
		"no quorum":                two,
		"two quorums":              two + "quorum a\nquorum a\n",
		"unknown quorum":           two + "quorum c\n",
		"quorum before":            "quorum a\n" + two,
		"quorum of two":            two + "quorum a b\n",
		"last line open":           two + "quorum a",
		"carriage return":          two + "quorum a\r\n",
		"unknown word":             two + "quorums a\nquorum a\n",
		"key twice":                two + "witness c " + witnessKey(2) + "\nquorum a\n",
		"key under two names":      two + "witness c " + signer.CosignatureVKey("other", key(2).Public()) + "\nquorum a\n",
		"name twice":               two + "witness a " + witnessKey(4) + "\nquorum a\n",
		"witness named none":       "witness none " + witnessKey(2) + "\nquorum none\n",
		"log key as a witness":     "witness a " + signer.VKey("w", key(2).Public()) + "\nquorum a\n",
		"witness key as a log":     "log " + witnessKey(2) + "\nquorum none\n",
		"log twice":                strings.Repeat("log "+signer.VKey(origin, key(1).Public())+"\n", 2) + "quorum none\n",
		"small order":              "witness a " + signer.CosignatureVKey("a", signer.PublicKey{}) + "\nquorum a\n",
		"group before members":     "group g any a\n" + two + "quorum g\n",
		"group of itself":          two + "group g any a g\nquorum g\n",
		"group of none":            two + "group g any none\nquorum g\n",
		"empty group":              two + "group g any\nquorum g\n",
		"threshold 0":              two + "group g 0 a b\nquorum g\n",
		"threshold too great":      two + "group g 3 a b\nquorum g\n",
		"threshold +1":             two + "group g +1 a b\nquorum g\n",
		"threshold 01":             two + "group g 01 a b\nquorum g\n",
		"group named as a witness": two + "group a any b\nquorum a\n",
		"member twice":             two + "group g 2 a a\nquorum g\n",
		"member of two groups":     two + "group g any a\ngroup h any a\nquorum h\n",
		"more than one can use":    two + many.String() + "quorum a\n",
		"huge":                     two + "quorum a\n" + strings.Repeat("#\n", 40<<10),
	} {
		if _, err := signer.ParseQuorum([]byte(text)); !errors.Is(err, signer.ErrQuorum) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzQuorum(f *testing.F) {
	f.Add([]byte(twoLevels()))
	f.Add([]byte("quorum none\n"))
	f.Add([]byte("witness \xff " + witnessKey(2) + "\ngroup g any \xff\nquorum g\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := signer.ParseQuorum(text)
		if err != nil {
			return
		}
		lines := q.Lines(true)
		again, err := signer.ParseQuorum([]byte(strings.Join(lines, "\n") + "\n"))
		if err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		if !slices.Equal(lines, again.Lines(true)) || !slices.Equal(q.Witnesses, again.Witnesses) {
			t.Errorf("%q comes back as %q", lines, again.Lines(true))
		}
	})
}

// Only verified cosignatures of known witnesses are taken over, each once.
func TestAddCosignatures(t *testing.T) {
	signed := sign(t, checkpoint(5), noteSigner(t, key(1), origin), cosigner(t, key(2), "w2", 200))
	line := func(n byte, name string) []byte {
		l, err := signer.CosignLine(key(n), name, 300, signed)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	known := []signer.Cosigner{{Name: "w2", Key: key(2).Public()}, {Name: "w3", Key: key(3).Public()}}
	answers := slices.Concat(line(2, "w2"), line(4, "stranger"), line(3, "w3"), line(3, "w3"))
	got, added, err := signer.AddCosignatures(signed, answers, origin, key(1).Public(), known...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]signer.Cosignature{{Name: "w3", Key: key(3).Public(), Seconds: 300}}, added); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(string(signed)+string(line(3, "w3")), string(got)); diff != "" {
		t.Error(diff)
	}
	forged := []byte(strings.Replace(string(line(3, "w3")), "A", "B", 1))
	for what, lines := range map[string][]byte{"forged": forged, "no line": []byte("w3\n"), "text": []byte("\n\n— x y\n")} {
		if out, added, err := signer.AddCosignatures(signed, lines, origin, key(1).Public(), known...); err == nil || len(added) > 0 || out != nil {
			t.Errorf("%s: added %v, %v", what, added, err)
		}
	}
	if out, _, err := signer.AddCosignatures(signed, answers, origin, key(5).Public(), known...); !errors.Is(err, signer.ErrSignature) || out != nil {
		t.Errorf("not this log's: %v, want ErrSignature", err)
	}
}
