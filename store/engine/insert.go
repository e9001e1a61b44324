package engine

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// insert is INSERT INTO table [(columns)] [SETTINGS …] FORMAT Native, whose rows
// come apart from the text.
//
// The engine reads rows from a file, so the statement becomes
//
//	INSERT INTO table (columns) SETTINGS … SELECT columns FROM file('…', 'Native')
//
// With the table's structure, which the engine would otherwise lay over the
// file, a column missing from the file would be stored as defaults. So the
// structure is taken from the file itself: then a missing column is an unknown
// identifier, and a surplus one is refused as an unknown field.
type insert struct {
	table    string   // as written
	columns  []string // unquoted; empty: all columns of the block
	settings string   // the SETTINGS clause as written, without the keyword
	rows     *spool
}

// strictInsert are the settings that make an insert go by name and take nothing
// for granted. The inference cache goes by path and modification time, which a
// reused descriptor repeats.
var strictInsert = map[string]string{
	"input_format_skip_unknown_fields":                      "0", // a surplus column is an error
	"insert_null_as_default":                                "0", // so is a null where none may be
	"schema_inference_make_columns_nullable":                "0",
	"schema_inference_use_cache_for_file":                   "0",
	"use_structure_from_insertion_table_in_table_functions": "0",
}

// parseInsert reads the head of an insert whose rows come apart. It refuses what
// the embedded engine cannot take that way.
func parseInsert(text string) (*insert, error) {
	l := &lexer{text: text}
	if !l.accept("INSERT") || !l.accept("INTO") {
		return nil, refuse("rows in the request body need INSERT INTO … FORMAT Native")
	}
	l.accept("TABLE")
	if t := l.peek(); t.is("FUNCTION") {
		return nil, refuse("INSERT INTO FUNCTION with rows in the request body")
	}
	ins := new(insert)
	var ok bool
	if ins.table, _, ok = l.path(); !ok {
		return nil, malformed("a table name is missing")
	}
	if l.acceptMark("(") {
		if ins.columns, ok = l.columns(); !ok {
			return nil, malformed("the column list is not a list of names")
		}
	}
	return ins, l.tail(ins)
}

// path reads a possibly dotted name, as written and unquoted.
func (l *lexer) path() (raw, name string, ok bool) {
	for {
		t := l.next()
		if t.kind != word && t.kind != quotedName {
			return "", "", false
		}
		raw, name = raw+t.text, name+unquoteName(t)
		if !l.acceptMark(".") {
			return raw, name, true
		}
		raw, name = raw+".", name+"."
	}
}

func (l *lexer) columns() ([]string, bool) {
	var out []string
	for {
		_, name, ok := l.path()
		if !ok {
			return nil, false
		}
		out = append(out, name)
		switch t := l.next(); {
		case t.isMark(")"):
			return out, true
		case !t.isMark(","):
			return nil, false
		}
	}
}

// tail reads [SETTINGS …] FORMAT Native [;].
func (l *lexer) tail(ins *insert) error {
	if l.accept("SETTINGS") {
		from := l.peek().offset
		for t := l.peek(); t.kind != end && !t.is("FORMAT"); t = l.peek() {
			l.next()
		}
		ins.settings = strings.TrimSpace(l.text[from:l.peek().offset])
	}
	if !l.accept("FORMAT") {
		return malformed("FORMAT is missing")
	}
	if format := l.next(); !format.is("Native") {
		return refuse("rows in the request body in a format other than Native")
	}
	l.acceptMark(";")
	if l.peek().kind != end {
		return malformed("text after FORMAT Native")
	}
	return nil
}

// unquoteName undoes quoteName, and doubled quotes.
func unquoteName(t token) string {
	if t.kind != quotedName || len(t.text) < 2 {
		return t.text
	}
	q := t.text[:1]
	inner := t.text[1 : len(t.text)-1]
	return strings.NewReplacer(`\\`, `\`, `\`+q, q, q+q, q).Replace(inner)
}

// sql is the statement that reads the rows from path. settings override what
// the statement says, and strictInsert overrides both.
func (i *insert) sql(path string, columns []string, settings map[string]string) string {
	names := make([]string, len(columns))
	for n, c := range columns {
		names[n] = quoteName(c)
	}
	list := strings.Join(names, ", ")
	clause := []string{assignments(settings), assignments(strictInsert)}
	if i.settings != "" {
		clause = slices.Insert(clause, 0, i.settings)
	}
	clause = slices.DeleteFunc(clause, func(s string) bool { return s == "" })
	return "INSERT INTO " + i.table + " (" + list + ") SETTINGS " + strings.Join(clause, ", ") +
		" SELECT " + list + " FROM file(" + quoteLiteral(path) + ", 'Native')"
}

// assignments is a SETTINGS or SET list in the order of the names.
func assignments(settings map[string]string) string {
	parts := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		parts = append(parts, name+" = "+quoteLiteral(settings[name]))
	}
	return strings.Join(parts, ", ")
}

// describeFile asks for the columns of a native file, as RowBinary.
func describeFile(path string) string {
	return "DESCRIBE TABLE file(" + quoteLiteral(path) + ", 'Native')"
}

// describeFields is the number of strings in a row of DESCRIBE TABLE.
const describeFields = 7

// describedNames reads the names from the rows that DESCRIBE TABLE gave: strings
// with a varint length before each.
func describedNames(rows []byte) ([]string, error) {
	var names []string
	for field := 0; len(rows) > 0; field++ {
		n, size := binary.Uvarint(rows)
		if size <= 0 || n > uint64(len(rows)-size) {
			return nil, exception("unreadable column description")
		}
		if field%describeFields == 0 {
			names = append(names, string(rows[size:size+int(n)]))
		}
		rows = rows[size+int(n):]
	}
	return names, nil
}

func refuse(what string) error {
	return raise(codeNotImplemented, "NOT_IMPLEMENTED", "the embedded engine does not take %s", what)
}

func malformed(what string) error {
	return raise(codeSyntaxError, "SYNTAX_ERROR", "cannot read the INSERT statement: %s", what)
}
