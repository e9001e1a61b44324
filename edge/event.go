package edge

import (
	"fmt"
	"mime"
	"strconv"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Event is what Record takes: the plain event, and the content to seal beside it.
//
// Record fills in what is not set: version, id, tenant, instance, occurred_at (now, observed), and from the context run,
// principal, on_behalf_of, causes and trust. It always sets run_seq, sealed, fingerprints and, for an event that ends a
// run, last_run_seq. An execution that seals "arguments" gets their digest as arguments_digest.
type Event struct {
	Plain  *eventv1.Event // belongs to Record from the call on
	Sealed []Content
}

// Content is a value that may be secret or personal. Only a commitment to it stands in the event.
type Content struct {
	Path      string // names the field: "arguments", "result", "goal", …; unique in the event
	MediaType string // empty: text/plain or application/octet-stream
	Subject   string // pseudonymous id of whom it is about, so that it can be erased alone
	Value     []byte // at most event.MaxObject bytes, and half of the spool: see Cut
}

// Content is the clear text of a sealed field, nil if there is none of that path.
func (e *Event) Content(path string) []byte {
	for i := range e.Sealed {
		if e.Sealed[i].Path == path {
			return e.Sealed[i].Value
		}
	}
	return nil
}

// CutParameter is the media type parameter that holds the length of a value before it was cut.
const CutParameter = "cut-from"

// Cut returns c with a value that fits: of a longer one the beginning, with its whole length noted in the media type.
// Text is cut between characters.
func Cut(c Content) Content {
	if len(c.Value) <= event.MaxObject {
		return c
	}
	whole := len(c.Value)
	c.MediaType = withParameter(c.mediaType(), CutParameter, strconv.Itoa(whole))
	end := event.MaxObject
	for back := 0; back < utf8.UTFMax && !utf8.RuneStart(c.Value[end]); back++ {
		end--
	}
	c.Value = c.Value[:end]
	return c
}

// withParameter adds a parameter to a media type, if that can be read.
func withParameter(mediaType, name, value string) string {
	base, parameters, err := mime.ParseMediaType(mediaType)
	if err != nil {
		base, parameters = "application/octet-stream", map[string]string{}
	}
	parameters[name] = value
	return mime.FormatMediaType(base, parameters)
}

const (
	textType   = "text/plain; charset=utf-8"
	binaryType = "application/octet-stream"
	jsonType   = "application/json"
)

func (c *Content) mediaType() string {
	switch {
	case c.MediaType != "":
		return c.MediaType
	case utf8.Valid(c.Value):
		return textType
	}
	return binaryType
}

func fieldError(field, format string, args ...any) error {
	return &event.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}
