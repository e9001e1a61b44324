package engine

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// library is the C interface of libchdb (chdb.h). Pointers are opaque handles
// of the library's own memory; the Go collector ignores them.
type library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv **byte) *unsafe.Pointer
	closeConn         func(conn *unsafe.Pointer)
	query             func(conn unsafe.Pointer, text *byte, textLen uintptr, format *byte, formatLen uintptr,
		names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	streamQuery func(conn unsafe.Pointer, text *byte, textLen uintptr, format *byte, formatLen uintptr,
		names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	streamFetch  func(conn, stream unsafe.Pointer) unsafe.Pointer
	streamCancel func(conn, stream unsafe.Pointer)
	resultBuffer func(result unsafe.Pointer) unsafe.Pointer
	resultLength func(result unsafe.Pointer) uintptr
	resultError  func(result unsafe.Pointer) string
	free         func(result unsafe.Pointer)
}

// loaded is the library of this process. It is never unloaded: its threads
// outlive the last connection.
var loaded struct {
	sync.Mutex
	lib *library
}

// load opens the library at path, or where Find says. It hands the signals back
// to the Go runtime, which the library takes when it is loaded and drops when
// it is told to leave them alone.
func load(path string) (*library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		return loaded.lib, nil
	}
	if path == "" {
		var err error
		if path, err = Find(); err != nil {
			return nil, err
		}
	}
	lib, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	loaded.lib = lib
	return lib, nil
}

func open(path string) (*library, error) {
	keeper := keepSignals()
	defer keeper.restore()
	lib := new(library)
	if err := bind(path, lib.symbols()); err != nil {
		return nil, err
	}
	lib.setSignalHandlers(0)
	return lib, nil
}

func (l *library) symbols() map[string]any {
	return map[string]any{
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlers,
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.closeConn,
		"chdb_query_with_params_n":         &l.query,
		"chdb_stream_query_with_params_n":  &l.streamQuery,
		"chdb_stream_fetch_result":         &l.streamFetch,
		"chdb_stream_cancel_query":         &l.streamCancel,
		"chdb_result_buffer":               &l.resultBuffer,
		"chdb_result_length":               &l.resultLength,
		"chdb_result_error":                &l.resultError,
		"chdb_destroy_query_result":        &l.free,
	}
}

// dial opens one connection; nil means that the engine refused, and it gives no
// reason. Every connect resets the process's signal handlers, hence the keeper.
func (l *library) dial(args []string) *unsafe.Pointer {
	loaded.Lock()
	defer loaded.Unlock()
	keeper := keepSignals()
	defer keeper.restore()
	argv := make([]*byte, len(args))
	for i, arg := range args {
		argv[i] = unsafe.SliceData(append([]byte(arg), 0))
	}
	handle := l.connect(int32(len(argv)), unsafe.SliceData(argv))
	runtime.KeepAlive(argv)
	return handle
}

// param is one named query parameter. Its value is the TSV-escaped text that
// the engine parses by the type in the query.
type param struct{ name, value string }

// call runs text as a whole (fn is query) or begins it as a stream (fn is
// streamQuery). The result must be freed.
func (l *library) call(stream bool, conn unsafe.Pointer, text, format string, params []param) unsafe.Pointer {
	fn := l.query
	if stream {
		fn = l.streamQuery
	}
	names, nameLens := make([]*byte, len(params)), make([]uintptr, len(params))
	values, valueLens := make([]*byte, len(params)), make([]uintptr, len(params))
	for i, p := range params {
		names[i], nameLens[i] = bytesOf(p.name)
		values[i], valueLens[i] = bytesOf(p.value)
	}
	query, queryLen := bytesOf(text)
	form, formLen := bytesOf(format)
	result := fn(conn, query, queryLen, form, formLen, unsafe.SliceData(names), unsafe.SliceData(nameLens),
		unsafe.SliceData(values), unsafe.SliceData(valueLens), uintptr(len(params)))
	runtime.KeepAlive(params)
	runtime.KeepAlive(names)
	runtime.KeepAlive(values)
	return result
}

// bytesOf gives C the address and length of s, never a nil address.
func bytesOf(s string) (*byte, uintptr) {
	if s == "" {
		return new(byte), 0
	}
	return unsafe.StringData(s), uintptr(len(s))
}

// view is the result's bytes in the library's memory: valid until it is freed.
func (l *library) view(result unsafe.Pointer) []byte {
	n := l.resultLength(result)
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(l.resultBuffer(result)), n)
}

// failure is the result's error, or nil. A missing result is an error too.
func (l *library) failure(result unsafe.Pointer) error {
	if result == nil {
		return exception("the engine returned no result")
	}
	if text := l.resultError(result); text != "" {
		return exception(text)
	}
	return nil
}
