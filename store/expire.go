package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// contentTables lose their rows when content expires. Leaves, batches (signed
// statements), keys, heads and state stay for ever: they hold no content, and
// proofs are made of them. So do Custody's own events: they say which keys were
// valid, what was allowed and who read what, and nothing can be judged without
// them. They have neither openings nor held events.
var contentTables = []string{tableOpenings, tableHeld, tableEvents}

// producerKept is whose events never expire.
const producerKept = eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY

func expires(table string) bool { return slices.Contains(contentTables, table) }

const selectFirstKept = `
SELECT min(idx) FROM ${db}.leaves
WHERE tenant = {tenant:String} AND time >= fromUnixTimestamp64Nano({before:Int64}, 'UTC') AND stream_seq <= {head:UInt64}`

const insertExpiry = `
INSERT INTO ${db}.expiries (tenant, first_kept, before, made_at)
SELECT {tenant:String}, {kept:UInt64}, fromUnixTimestamp64Nano({before:Int64}, 'UTC'), fromUnixTimestamp64Nano({now:Int64}, 'UTC')`

const selectHold = `
SELECT key
FROM ${db}.fold_state
WHERE tenant = {tenant:String} AND startsWith(key, 'hold/') AND stream_seq <= {head:UInt64}
GROUP BY key HAVING argMax(value, stream_seq) != ''
ORDER BY key LIMIT 1`

// Expire drops the content of a tenant's events received before a time: event
// bytes and columns, openings and held events. Custody's own events are kept.
// A message is dropped whole or not at all. Content younger than the retention
// floor is refused with ErrRetention, and with ErrHold everything of a tenant
// with a hold at the committed head, whatever its scope: what belongs to a
// subject is not known here. It returns the first index kept.
//
// What is expired is recorded first; after a crash the same call finishes.
func (s *Store) Expire(ctx context.Context, tenant string, before time.Time) (firstKept uint64, err error) {
	now := s.options.Now()
	if floor := now.Add(-s.options.MinRetention); before.After(floor) {
		return 0, fmt.Errorf("expire %s before %s: the floor is %s: %w", tenant, before.Format(time.RFC3339), floor.Format(time.RFC3339), ErrRetention)
	}
	if err := s.held(ctx, tenant); err != nil {
		return 0, fmt.Errorf("expire %s: %w", tenant, err)
	}
	kept, err := s.firstKept(ctx, tenant, before)
	if err != nil || kept == 0 {
		return kept, err
	}
	err = s.db.Exec(ctx, s.sql(insertExpiry),
		named("tenant", tenant), named("kept", kept), named("before", before.UnixNano()), named("now", now.UnixNano()))
	if err != nil {
		return 0, wrap(err, "expire %s", tenant)
	}
	return kept, s.drop(ctx, tenant, kept)
}

// held is ErrHold if a hold is in force.
func (s *Store) held(ctx context.Context, tenant string) error {
	var key, found string
	err := s.each(ctx, selectHold, append(s.headArgs(), named("tenant", tenant)), func() { found = key }, &key)
	switch {
	case err != nil:
		return wrap(err, "read holds")
	case found != "":
		return fmt.Errorf("%s: %w", found, ErrHold)
	}
	return nil
}

const selectSize = `
SELECT max(size) FROM ${db}.heads WHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64}`

// firstKept is the first leaf of the message that holds the first leaf at or
// after a time, or the size of the log if there is none.
func (s *Store) firstKept(ctx context.Context, tenant string, before time.Time) (uint64, error) {
	args := append(s.headArgs(), named("tenant", tenant), named("before", before.UnixNano()))
	young, err := s.number(ctx, "SELECT count() FROM ("+selectFirstKept+" HAVING count() > 0)", args...)
	if err != nil {
		return 0, err
	}
	if young == 0 {
		return s.number(ctx, selectSize, args...)
	}
	idx, err := s.number(ctx, selectFirstKept, args...)
	if err != nil {
		return 0, err
	}
	return s.messageStart(ctx, tenant, idx)
}

// number runs a query with one number as its answer.
func (s *Store) number(ctx context.Context, query string, args ...any) (n uint64, err error) {
	err = s.db.QueryRow(ctx, s.sql(query), args...).Scan(&n)
	return n, wrap(err, "execute %.60q", strings.TrimSpace(query))
}

func (s *Store) drop(ctx context.Context, tenant string, kept uint64) error {
	for _, table := range contentTables {
		// A mutation is kept as text, so it takes no parameters; a tenant's name is [a-z0-9-].
		if strings.ContainsAny(tenant, `'\`) {
			return fmt.Errorf("expire %q: not a tenant's name", tenant)
		}
		which := fmt.Sprintf("tenant = '%s' AND idx < %d", tenant, kept)
		if table == tableEvents {
			which += fmt.Sprintf(" AND CAST(producer, 'Int8') != %d", producerKept)
		}
		query := fmt.Sprintf("ALTER TABLE ${db}.%s DELETE WHERE %s SETTINGS mutations_sync = 2", table, which)
		if err := s.exec(ctx, query); err != nil {
			return fmt.Errorf("expire %s: %w", tenant, err)
		}
	}
	return nil
}

// Expired returns, for each tenant with expired content, the first index from
// which on everything is kept.
func (s *Store) Expired(ctx context.Context) (map[string]uint64, error) {
	expired := map[string]uint64{}
	var tenant string
	var kept uint64
	err := s.each(ctx, "SELECT tenant, max(first_kept) FROM ${db}.expiries GROUP BY tenant", nil, func() { expired[tenant] = kept }, &tenant, &kept)
	return expired, wrap(err, "read expiries")
}
