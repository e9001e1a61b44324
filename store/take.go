package store

// A reading may be compared with a block bit by bit, while the block is being made: rows of a message follow each other in the log, in
// every table that has them, so that what is derived next must be what stands next. Then a block is never larger than the processor's
// caches.

// log is the rows of one tenant in an answer, of which those before next were taken.
type log struct {
	tenant   string
	next, to int
}

// Take compares the rows of the block's messages with those that come next in the reading, and forgets them: what Compare says
// afterwards of the two counts them, but cannot name their differences. It is false if there is one.
func (r *Reading) Take(b *Block) bool {
	for i, t := range b.tables() {
		if !t.ofMessages() {
			continue
		}
		if !r.take(i, t) {
			return false
		}
		t.drop()
	}
	return true
}

// ofMessages reports whether the rows are those of messages, and not of what they add up to.
func (t *table) ofMessages() bool { return t.name != tableHeads && t.name != tableState }

// drop forgets the rows, but not what their dictionaries hold.
func (t *table) drop() {
	for _, c := range t.columns {
		if d, ok := c.(*dict); ok {
			d.keys = d.keys[:0]
			continue
		}
		c.reset()
	}
	t.rows = 0
}

// take takes the rows of one table, log by log.
func (r *Reading) take(i int, t *table) bool {
	tenant := t.column("tenant").(*dict)
	for from := 0; from < t.rows; {
		to := from + 1
		for to < t.rows && tenant.keys[to] == tenant.keys[from] {
			to++
		}
		if !r.takeRun(i, t, tenant.value(from), run{from, to}) {
			return false
		}
		from = to
	}
	return true
}

// takeRun takes rows of one tenant.
func (r *Reading) takeRun(i int, t *table, tenant string, rows run) bool {
	l := r.log(i, tenant)
	n := rows.to - rows.from
	if l == nil || n > l.to-l.next || !t.sameRun(r.answers[i].blocks, l.next, rows) {
		return false
	}
	l.next += n
	return true
}

// has reports whether the rows of a table are what is left to take.
func (r *Reading) has(t *table) bool {
	i := r.number(t.name)
	if !t.ofMessages() {
		return t.sameRows(r.answers[i].blocks)
	}
	return r.take(i, t) && r.taken(i)
}

// taken reports whether all of a table has been taken.
func (r *Reading) taken(i int) bool {
	for _, l := range r.logsOf(i) {
		if l.next < l.to {
			return false
		}
	}
	return true
}

func (r *Reading) log(i int, tenant string) *log {
	logs := r.logsOf(i)
	for k := range logs {
		if logs[k].tenant == tenant {
			return &logs[k]
		}
	}
	return nil
}

// logsOf finds what there is of each log in a table.
func (r *Reading) logsOf(i int) []log {
	if r.logs == nil {
		r.logs = make([][]log, len(r.tables))
		for k, t := range r.tables {
			r.logs[k] = r.rows(t.name).logs()
		}
	}
	return r.logs[i]
}

// logs are the rows of each tenant, which follow each other.
func (r *reader) logs() (logs []log) {
	for row := 0; r.next(); row++ {
		if tenant := r.looked(r.tenant); len(logs) == 0 || logs[len(logs)-1].tenant != tenant {
			logs = append(logs, log{tenant: tenant, next: row})
		}
		logs[len(logs)-1].to = row + 1
	}
	return logs
}
