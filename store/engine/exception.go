package engine

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

// ClickHouse error codes that this package raises itself
// (src/Common/ErrorCodes.cpp).
const (
	codeBadArguments   = 36
	codeNotImplemented = 48
	codeSyntaxError    = 62
	codeTooLarge       = 307 // TOO_MANY_BYTES
	codeStd            = 1001
)

// symbol is the name that ends an error text: "(UNKNOWN_TABLE)".
var symbol = regexp.MustCompile(`\(([A-Z][A-Z0-9_]+)\)`)

// exception reads the engine's error text, "Code: 60. DB::Exception: …". A text
// without a code becomes STD_EXCEPTION, as in the server.
func exception(text string) *clickhouse.Exception {
	text = strings.TrimSpace(text)
	number, rest, ok := strings.Cut(strings.TrimPrefix(text, "Code: "), ". ")
	code, err := strconv.ParseInt(number, 10, 32)
	name, message, named := strings.Cut(rest, ": ")
	if !ok || err != nil || !named || code <= 0 {
		return raise(codeStd, "STD_EXCEPTION", "%s", text)
	}
	e := &clickhouse.Exception{Code: int32(code), Name: name, Message: message}
	if all := symbol.FindAllStringSubmatch(message, -1); all != nil {
		e.CodeName = all[len(all)-1][1]
	}
	return e
}

func raise(code int32, symbol, format string, args ...any) *clickhouse.Exception {
	message := fmt.Sprintf(format, args...) + " (" + symbol + ")"
	return &clickhouse.Exception{Code: code, Name: "DB::Exception", CodeName: symbol, Message: message}
}

// exceptionText is the text that a server sends, and that the driver parses.
func exceptionText(e *clickhouse.Exception) string {
	return fmt.Sprintf("Code: %d. %s: %s", e.Code, e.Name, e.Message)
}

// notStreamable tells that the engine refused to stream a statement. It says so
// after parsing and before running anything, so the statement may be run whole.
func notStreamable(err error) bool {
	e, ok := err.(*clickhouse.Exception) //nolint:errorlint // made by exception, never wrapped
	return ok && e.Code == codeBadArguments && strings.HasPrefix(e.Message, "Streaming query is not supported")
}
