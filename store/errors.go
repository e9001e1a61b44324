package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

// What a caller should do about an error.
var (
	// ErrUnavailable means that the store did not answer or is out of room. An
	// insert may or may not have happened: retry it with the same block later.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrSchema means that the tables are not those of this program. A person
	// must look; nothing is written.
	ErrSchema = errors.New("schema differs")
	// ErrMismatch means that an insert returned but what can be read back is
	// not what was sent. Stop writing; `custody check` says what differs.
	ErrMismatch = errors.New("rows read back differ from the rows written")
	// ErrRetention means that an expiry would drop content that must be kept.
	ErrRetention = errors.New("content is within its retention")
	// ErrHold means that an expiry would drop content that a hold protects.
	ErrHold = errors.New("a hold is in force")
)

// Codes of ClickHouse (src/Common/ErrorCodes.cpp) by what a caller should do.
var (
	schemaCodes = []int32{
		10,  // NOT_FOUND_COLUMN_IN_BLOCK
		16,  // NO_SUCH_COLUMN_IN_TABLE
		47,  // UNKNOWN_IDENTIFIER
		53,  // TYPE_MISMATCH
		60,  // UNKNOWN_TABLE
		81,  // UNKNOWN_DATABASE
		117, // INCORRECT_DATA: a column of the block that the table lacks
	}
	busyCodes = []int32{
		3,   // UNEXPECTED_END_OF_FILE
		74,  // CANNOT_READ_FROM_FILE_DESCRIPTOR
		75,  // CANNOT_WRITE_TO_FILE_DESCRIPTOR
		159, // TIMEOUT_EXCEEDED
		202, // TOO_MANY_SIMULTANEOUS_QUERIES
		209, // SOCKET_TIMEOUT
		210, // NETWORK_ERROR
		236, // ABORTED
		241, // MEMORY_LIMIT_EXCEEDED
		242, // TABLE_IS_READ_ONLY
		243, // NOT_ENOUGH_SPACE
		252, // TOO_MANY_PARTS
		319, // UNKNOWN_STATUS_OF_INSERT
		394, // QUERY_WAS_CANCELLED
		999, // KEEPER_EXCEPTION
	}
)

// wrap names the operation and sorts the error into one of the above.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	op := fmt.Sprintf(format, args...)
	if sort := classify(err); sort != nil && !errors.Is(err, sort) {
		return fmt.Errorf("%s: %w: %w", op, sort, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

func classify(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return classifyCode(ex.Code)
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout) {
		return ErrUnavailable
	}
	return nil
}

func classifyCode(code int32) error {
	switch {
	case slices.Contains(schemaCodes, code):
		return ErrSchema
	case slices.Contains(busyCodes, code):
		return ErrUnavailable
	}
	return nil
}
