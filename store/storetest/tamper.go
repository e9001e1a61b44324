package storetest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/store"
)

// Tables are the tables that the fold writes.
var Tables = []string{"events", "leaves", "batches", "openings", "held", "keys", "heads", "fold_state"}

func testMissing(f *fixture) {
	b := f.sample()
	for _, table := range Tables {
		f.swap(table, "SELECT * FROM ${db}."+table+" ORDER BY tenant, stream_seq LIMIT 1, 1000000", func() { f.expect(b, table, "missing") })
		f.swap(table, "SELECT * FROM ${db}."+table+" UNION ALL (SELECT * FROM ${db}."+table+" ORDER BY tenant, stream_seq LIMIT 1)", func() {
			f.expect(b, table, "not derived")
		})
	}
	f.same(b)
}

func (f *fixture) expect(b *store.Block, table, message string) {
	f.Helper()
	problems := f.problems(b)
	if len(problems) != 1 || problems[0].Table != table || !strings.Contains(problems[0].Message, message) {
		f.Errorf("%s: problems %v, want one with %q", table, problems, message)
	}
}

// testMutations changes, in each table, one value of each column, each in a row
// of its own, and expects the comparison to name every one of them.
func testMutations(f *fixture) {
	b := f.many()
	for _, table := range Tables {
		columns := f.columns(table)
		if rows := f.number("SELECT count() FROM ${db}." + table); rows < uint64(len(columns)) {
			f.Fatalf("%s has %d rows for %d columns", table, rows, len(columns))
		}
		f.swap(table, mutation(table, columns), func() { f.named(b, table, columns) })
	}
	f.same(b)
}

// many commits a block with more rows in each table than the table has columns.
func (f *fixture) many() *store.Block {
	f.Helper()
	var messages []*store.Folded
	for i := range 12 {
		tenant := fmt.Sprintf("tenant-%02d", i)
		messages = append(messages, f.log.Key(tenant), f.log.Random(tenant, 6), f.log.Held(tenant))
	}
	return f.commit(f.log.Block(nil, messages...))
}

// named expects one problem for each column, each in another row.
func (f *fixture) named(b *store.Block, table string, columns []column) {
	f.Helper()
	problems := f.problems(b)
	rows := map[string]bool{}
	var got, want []string
	for _, p := range problems {
		rows[p.Row] = true
		got = append(got, p.Table+"."+p.Column)
	}
	for _, c := range columns {
		want = append(want, table+"."+c.name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(rows) != len(columns) {
		f.Errorf("%s: problems in %d rows (-want +got):\n%s", table, len(rows), diff)
	}
}

// column is one column of a table, as the server describes it.
type column struct{ name, kind string }

func (f *fixture) columns(table string) (all []column) {
	f.Helper()
	rows, err := f.store.Conn().Query(f.Context(), fmt.Sprintf(
		"SELECT name, type FROM system.columns WHERE database = '%s' AND table = '%s' ORDER BY position", f.store.Database(), table))
	f.must(err)
	defer rows.Close()
	for rows.Next() {
		var c column
		f.must(rows.Scan(&c.name, &c.kind))
		all = append(all, c)
	}
	f.must(rows.Err())
	return all
}

// mutation selects the table with column i changed in row i.
func mutation(table string, columns []column) string {
	var changes []string
	for i, c := range columns {
		changes = append(changes, fmt.Sprintf("if(n = %d, %s, %s) AS %s", i+1, c.changed(), c.name, c.name))
	}
	return fmt.Sprintf("SELECT * EXCEPT n REPLACE (%s) FROM (SELECT *, row_number() OVER (ORDER BY tenant, stream_seq) AS n FROM ${db}.%s)",
		strings.Join(changes, ", "), table)
}

var (
	fixedType = regexp.MustCompile(`FixedString\((\d+)\)`)
	enumType  = regexp.MustCompile(`= (-?\d+)`)
)

// changed is another value of the column's type.
func (c column) changed() string {
	switch {
	case strings.HasPrefix(c.kind, "Array(Enum8"):
		return "arrayPushBack(CAST(" + c.name + ", 'Array(Int8)'), 0)"
	case strings.HasPrefix(c.kind, "Array"):
		return "arrayPushBack(" + c.name + ", 'x')"
	case strings.HasPrefix(c.kind, "Enum8"):
		v := enumType.FindAllStringSubmatch(c.kind, 2)
		return fmt.Sprintf("CAST(if(CAST(%s, 'Int8') = %s, %s, %s), '%s')", c.name, v[0][1], v[1][1], v[0][1], strings.ReplaceAll(c.kind, "'", `\'`))
	case strings.HasPrefix(c.kind, "DateTime64"):
		return "addNanoseconds(" + c.name + ", 1)"
	case fixedType.MatchString(c.kind):
		n := fixedType.FindStringSubmatch(c.kind)[1]
		return fmt.Sprintf("toFixedString(concat(char(bitXor(ascii(toString(%[1]s)), 1)), substring(toString(%[1]s), 2)), %[2]s)", c.name, n)
	case strings.Contains(c.kind, "String"):
		return "concat(" + c.name + ", 'x')"
	}
	return c.name + " + 1"
}

// swap puts the result of a SELECT in the place of a table, runs check, and
// puts the table back.
func (f *fixture) swap(table, query string, check func()) {
	f.Helper()
	f.exec("CREATE TABLE ${db}.copy AS ${db}." + table)
	f.exec("INSERT INTO ${db}.copy " + query)
	f.exec("RENAME TABLE ${db}." + table + " TO ${db}.original, ${db}.copy TO ${db}." + table)
	check()
	f.exec("DROP TABLE ${db}." + table)
	f.exec("RENAME TABLE ${db}.original TO ${db}." + table)
}
