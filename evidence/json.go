package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrJSON says that a JSON text is not in its one encoding.
var ErrJSON = errors.New("malformed JSON file")

// marshalJSON is the one encoding of a JSON file: fields in the order of the struct, two spaces, no escaped HTML, a newline at
// the end.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b.Bytes(), nil
}

// unmarshalJSON accepts exactly what marshalJSON writes. The error is ErrJSON.
func unmarshalJSON(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	again, err := marshalJSON(v)
	if err != nil || !bytes.Equal(b, again) || hasNull(again) {
		return fmt.Errorf("not in its one encoding: %w", ErrJSON)
	}
	return nil
}

// hasNull reports whether a value of an indented text is null, which a list without a value would be written as. A text ends its line with
// a quote, so it is not taken for one.
func hasNull(indented []byte) bool {
	for line := range bytes.Lines(indented) {
		if bytes.HasSuffix(bytes.TrimRight(line, ",\n"), []byte("null")) {
			return true
		}
	}
	return false
}

// unmarshalLoosely accepts other white space too, for a file that a person may have edited.
func unmarshalLoosely(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	again, err := marshalJSON(v)
	if err != nil {
		return err
	}
	var got, want bytes.Buffer
	if err := errors.Join(json.Compact(&got, b), json.Compact(&want, again)); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) || hasNull(again) {
		return fmt.Errorf("unknown, repeated or misplaced fields: %w", ErrJSON)
	}
	return nil
}
