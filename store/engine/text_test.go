package engine

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestLexer(t *testing.T) {
	text := "a /* b */ 'it''s \\' x' `q``r`,\"d\" -- c\n$t$ ' $t$ 1.5 #! z\n$ # y\né"
	var got []string
	for l := (&lexer{text: text}); ; {
		tok := l.next()
		if tok.kind == end {
			break
		}
		got = append(got, tok.text)
	}
	want := []string{"a", `'it''s \' x'`, "`q``r`", ",", `"d"`, "$t$ ' $t$", "1", ".", "5", "$", "é"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzLexer(f *testing.F) {
	for _, s := range []string{"SELECT 'a", "/*", "$$", "$a$ $a", "`\\", "--", "(((", "INSERT INTO t FORMAT Native"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := &lexer{text: text}
		for at := -1; ; {
			tok := l.next()
			if tok.kind == end {
				break
			}
			if tok.offset <= at || tok.text == "" || text[tok.offset:tok.offset+len(tok.text)] != tok.text {
				t.Fatalf("token %+v after %d", tok, at)
			}
			at = tok.offset
		}
		_, _ = shapeOf(text)
	})
}

// What quoteName and quoteLiteral write is one token, whatever is quoted.
func FuzzQuote(f *testing.F) {
	f.Add("a`b\\'c\"")
	f.Fuzz(func(t *testing.T, s string) {
		for _, q := range []string{quoteName(s), quoteLiteral(s)} {
			if l := (&lexer{text: q}); l.next().text != q || l.next().kind != end {
				t.Errorf("%q is not one token", q)
			}
		}
		if got := unquoteName(token{kind: quotedName, text: quoteName(s)}); got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestInsertStatement(t *testing.T) {
	const strict = "input_format_skip_unknown_fields = '0', insert_null_as_default = '0', schema_inference_make_columns_nullable = '0', " +
		"schema_inference_use_cache_for_file = '0', use_structure_from_insertion_table_in_table_functions = '0'"
	for _, tc := range []struct {
		text     string
		settings map[string]string
		want     string
	}{
		{
			text: "INSERT INTO t (a, `b c`) FORMAT Native",
			want: "INSERT INTO t (`a`, `b c`) SETTINGS " + strict + " SELECT `a`, `b c` FROM file('/f', 'Native')",
		},
		{
			text:     "insert into table db.`we``ird`(n.x,\"q\") settings a=1, b = 'FORMAT' Format native ;",
			settings: map[string]string{"insert_deduplication_token": "it's", "a": "2"},
			want: "INSERT INTO db.`we``ird` (`n.x`, `q`) SETTINGS a=1, b = 'FORMAT', a = '2', insert_deduplication_token = 'it\\'s', " +
				strict + " SELECT `n.x`, `q` FROM file('/f', 'Native')",
		},
	} {
		ins, err := parseInsert(tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if d := cmp.Diff(tc.want, ins.sql("/f", ins.columns, tc.settings)); d != "" {
			t.Error(d)
		}
	}
}

func TestInsertStatementsRefused(t *testing.T) {
	for _, text := range []string{
		"", "SELECT 1", "INSERT", "INSERT INTO", "INSERT INTO t", "INSERT INTO t FORMAT", "INSERT INTO t FORMAT CSV",
		"INSERT INTO t () FORMAT Native", "INSERT INTO t (a,) FORMAT Native", "INSERT INTO t (* EXCEPT a) FORMAT Native",
		"INSERT INTO t (a FORMAT Native", "INSERT INTO FUNCTION file('x') FORMAT Native", "INSERT INTO t VALUES",
		"INSERT INTO t FORMAT Native SELECT 1", "INSERT INTO t SELECT 1 FORMAT Native", "INSERT INTO 'x' FORMAT Native",
		"INSERT INTO t. FORMAT Native", "INSERT INTO t SETTINGS a=1",
	} {
		if ins, err := parseInsert(text); err == nil {
			t.Errorf("%s: taken as %+v", text, ins)
		}
	}
}

func FuzzParseInsert(f *testing.F) {
	f.Add("INSERT INTO a.b (`c`, d.e) SETTINGS x = 1 FORMAT Native;")
	f.Fuzz(func(t *testing.T, text string) {
		ins, err := parseInsert(text)
		if err != nil {
			return
		}
		again, err := parseInsert("INSERT INTO " + ins.table + " FORMAT Native")
		if err != nil || again.table != ins.table {
			t.Errorf("table %q of %q", ins.table, text)
		}
	})
}

func TestDescribedNames(t *testing.T) {
	row := func(name string) string { return string(rune(len(name))) + name + "\x06UInt64\x00\x00\x00\x00\x00" }
	got, err := describedNames([]byte(row("a") + row("b c")))
	if err != nil || !cmp.Equal(got, []string{"a", "b c"}) {
		t.Error(got, err)
	}
	if _, err := describedNames([]byte(row("a")[:4])); err == nil {
		t.Error("a cut description was read")
	}
}

func FuzzDescribedNames(f *testing.F) {
	f.Add([]byte("\x01a\x06UInt64\x00\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, rows []byte) { _, _ = describedNames(rows) })
}

func TestExceptionText(t *testing.T) {
	plain := cmpopts.IgnoreUnexported(clickhouse.Exception{})
	for text, want := range map[string]clickhouse.Exception{
		"Code: 60. DB::Exception: Table a.b: none. (UNKNOWN_TABLE)\n": {Code: 60, Name: "DB::Exception", Message: "Table a.b: none. (UNKNOWN_TABLE)", CodeName: "UNKNOWN_TABLE"},
		"Code: 241. DB::Exception: (total) limit. (A_B): x (C_D)":     {Code: 241, Name: "DB::Exception", Message: "(total) limit. (A_B): x (C_D)", CodeName: "C_D"},
		"no code": {Code: 1001, Name: "DB::Exception", Message: "no code (STD_EXCEPTION)", CodeName: "STD_EXCEPTION"},
		"":        {Code: 1001, Name: "DB::Exception", Message: " (STD_EXCEPTION)", CodeName: "STD_EXCEPTION"},
	} {
		got := exception(text)
		if d := cmp.Diff(want, *got, plain); d != "" {
			t.Errorf("%q: %s", text, d)
		}
		if d := cmp.Diff(got, exception(exceptionText(got)), plain); d != "" {
			t.Errorf("%q changes when sent: %s", text, d)
		}
	}
}

func FuzzException(f *testing.F) {
	f.Add("Code: 60. DB::Exception: x (UNKNOWN_TABLE)")
	f.Fuzz(func(t *testing.T, text string) {
		if exception(text).Code <= 0 {
			t.Error("an exception without a code")
		}
	})
}

func TestShapes(t *testing.T) {
	for text, want := range map[string]shape{
		"SELECT 1": streams, "with x as (select 1) select * from x": streams, "((SELECT 1))": streams,
		"/* x */ SELECT ';' -- ;": streams, "SELECT 1;": streams, "SHOW TABLES": whole, "INSERT INTO t VALUES (';');": whole,
		"set a = 1": session, "USE x": session, "CREATE TEMPORARY TABLE x (a Int8)": session,
		"CREATE OR REPLACE TEMPORARY TABLE x (a Int8)": session, "CREATE TABLE temporary (a Int8)": session,
		"ALTER TABLE t DROP COLUMN a": whole, "EXPLAIN SELECT 1": whole,
	} {
		if got, err := shapeOf(text); err != nil || got != want {
			t.Errorf("%s: %d, want %d, %v", text, got, want, err)
		}
	}
	for _, text := range []string{"", " ", "--", "SELECT 1; SELECT 2", "SET a=1; SELECT 1"} {
		if _, err := shapeOf(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestDifferenceOfSettings(t *testing.T) {
	type m = map[string]string
	base := m{"max_threads": "2", "log_comment": "tag;"}
	for name, tc := range map[string]struct {
		applied, wanted, set m
		reset                []string
	}{
		"nothing":  {base, nil, nil, nil},
		"new":      {base, m{"a": "1"}, m{"a": "1"}, nil},
		"again":    {m{"max_threads": "2", "log_comment": "tag;", "a": "1"}, m{"a": "1"}, m{}, nil},
		"gone":     {m{"max_threads": "2", "log_comment": "tag;", "a": "1", "b": "2"}, m{"b": "3"}, m{"b": "3"}, []string{"a"}},
		"override": {base, m{"max_threads": "1"}, m{"max_threads": "1"}, nil},
		"restore":  {m{"max_threads": "1", "log_comment": "tag;"}, nil, m{"max_threads": "2"}, nil},
		"comment":  {base, m{"log_comment": "mine"}, m{"log_comment": "tag;mine"}, nil},
	} {
		c := &conn{tag: "tag;", base: base, applied: tc.applied}
		set, reset := c.difference(tc.wanted)
		if d := cmp.Diff(tc.set, set) + cmp.Diff(tc.reset, reset); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// A body that breaks leaves nothing to run.
func TestBrokenBody(t *testing.T) {
	broken := errors.New("broken")
	for _, query := range []string{"", "INSERT INTO t FORMAT Native"} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://x/?query="+url.QueryEscape(query),
			io.MultiReader(strings.NewReader("SELECT 1"), errReader{broken}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRequest(req); !errors.Is(err, broken) {
			t.Errorf("%q: %v", query, err)
		}
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9": true, "[::1]:80": true, "localhost": true, "localhost:1": true,
		"": false, "10.0.0.1:1": false, "localhost.evil.example": false, "127.0.0.1.nip.example:80": false, "::ffff:10.0.0.1": false,
	} {
		if isLoopback(addr) != want {
			t.Errorf("%q", addr)
		}
	}
}
