package connector

import (
	"bufio"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReply(t *testing.T) {
	tests := map[string]struct {
		want reply
		err  bool
	}{
		"+OK\r\n":                       {want: "OK"},
		":-7\r\n":                       {want: int64(-7)},
		"-ERR unknown 's3cret'\r\n":     {want: refusal("ERR")},
		"$3\r\na\nb\r\n":                {want: "a\nb"},
		"$-1\r\n":                       {},
		"*-1\r\n":                       {},
		"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n": {want: []reply{"x", []reply{int64(1)}}},
		"":                              {err: true},
		"\r\n":                          {err: true},
		"+OK\n":                         {err: true},
		"$3\r\nab\r\n":                  {err: true},
		"$-2\r\n":                       {err: true},
		"$9999999999\r\n":               {err: true},
		"*65537\r\n":                    {err: true},
		"%1\r\n":                        {err: true},
		strings.Repeat("*1\r\n", 9):     {err: true},
	}
	for text, test := range tests {
		got, err := readReply(bufio.NewReader(strings.NewReader(text)), maxDepth)
		if diff := cmp.Diff(test.want, got); (err != nil) != test.err || !test.err && diff != "" {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// FuzzReply: whatever a server says is a value or an error, and an error of it is one word.
func FuzzReply(f *testing.F) {
	f.Add([]byte("*2\r\n$4\r\nuser\r\n*1\r\n:1\r\n"))
	f.Add([]byte("-WRONGPASS invalid\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := readReply(bufio.NewReader(strings.NewReader(string(text))), maxDepth)
		if refused, ok := errors.AsType[refusal](asError(r)); err == nil && ok && strings.Contains(string(refused), " ") {
			t.Errorf("a refusal of more than a word: %q", refused)
		}
	})
}

func asError(r reply) error {
	err, _ := r.(error)
	return err
}
