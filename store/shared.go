package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/event"
)

// ErrTooMany says that an answer is larger than its limit.
var ErrTooMany = errors.New("too many rows")

// Shared is one value that stands in records of a tenant and in records of another.
type Shared struct {
	Value       string // as both record it
	Other       string // tenant
	Records     uint64 // of the tenant, in the range, that have it
	First, Last uint64 // indices of the first and the last of them
}

// SharedColumn is a column whose equal values connect tenants.
type SharedColumn string

// The columns.
const (
	SharedCredential SharedColumn = "credential"
	SharedConnector  SharedColumn = "connector"
	SharedMemory     SharedColumn = "memory_key"
)

// sharedValues: the left side is small, since a tenant has few credentials, connectors and memories.
const sharedValues = `
SELECT value, other, records, first, last
FROM
(
    SELECT toString(%[1]s) AS value, count() AS records, min(idx) AS first, max(idx) AS last
    FROM ${db}.events
    WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND %[1]s != ''
    GROUP BY value
) AS ours
INNER JOIN
(
    SELECT DISTINCT toString(%[1]s) AS value, toString(tenant) AS other
    FROM ${db}.events
    WHERE tenant != {tenant:String} AND stream_seq <= {head:UInt64} AND %[1]s != ''
) AS theirs USING (value)
ORDER BY value, other
LIMIT {limit:UInt64}`

// sharedCauses: a record of the tenant names an event that stands in another log and not in the tenant's own.
const sharedCauses = `
SELECT hex(effect), other, toUInt64(1), first, first
FROM
(
    SELECT id AS effect, idx AS first, arrayJoin(causes) AS cause
    FROM ${db}.events
    WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND notEmpty(causes)
) AS ours
INNER JOIN
(
    SELECT DISTINCT id AS cause, toString(tenant) AS other
    FROM ${db}.events
    WHERE tenant != {tenant:String} AND stream_seq <= {head:UInt64} AND id IN
    (
        SELECT arrayJoin(causes) FROM ${db}.events
        WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND notEmpty(causes)
    )
) AS theirs USING (cause)
WHERE cause NOT IN
(
    SELECT id FROM ${db}.events WHERE tenant = {tenant:String} AND id IN
    (
        SELECT arrayJoin(causes) FROM ${db}.events
        WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND notEmpty(causes)
    )
)
GROUP BY effect, other, first
ORDER BY first, other
LIMIT {limit:UInt64}`

// sharedEffects: a record of another log names an event of the tenant, and its own log has none of that id.
const sharedEffects = `
SELECT hex(cause), other, toUInt64(1), any(first), any(first)
FROM
(
    SELECT id AS cause, min(idx) AS first
    FROM ${db}.events
    WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND kind NOT IN ('none', 'system')
    GROUP BY id
) AS ours
INNER JOIN
(
    SELECT DISTINCT arrayJoin(causes) AS cause, toString(tenant) AS other
    FROM ${db}.events
    WHERE tenant != {tenant:String} AND stream_seq <= {head:UInt64} AND notEmpty(causes)
) AS theirs USING (cause)
WHERE (other, cause) NOT IN
(
    SELECT toString(tenant), id FROM ${db}.events
    WHERE tenant != {tenant:String} AND id IN (SELECT id FROM ${db}.events WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64})
)
GROUP BY cause, other
ORDER BY any(first), other
LIMIT {limit:UInt64}`

// SharedValues lists the values of a column that a tenant's leaves [begin, end) have, and that any committed record of another
// tenant has, whenever it came; by value, then tenant. The error is ErrTooMany if there are more than limit.
func (s *Store) SharedValues(ctx context.Context, c SharedColumn, tenant string, begin, end uint64, limit int) ([]Shared, error) {
	return s.shared(ctx, fmt.Sprintf(sharedValues, string(c)), tenant, begin, end, limit)
}

// SharedCauses lists the records of a tenant's leaves [begin, end) that name an event of another tenant as a cause. Value is the
// id of the tenant's own event, in hexadecimal. The error is ErrTooMany if there are more than limit.
func (s *Store) SharedCauses(ctx context.Context, tenant string, begin, end uint64, limit int) ([]Shared, error) {
	return s.shared(ctx, sharedCauses, tenant, begin, end, limit)
}

// SharedEffects lists the records of a tenant's leaves [begin, end) that an event of another tenant names as a cause. Value is the
// id of the tenant's own event, in hexadecimal. The error is ErrTooMany if there are more than limit.
func (s *Store) SharedEffects(ctx context.Context, tenant string, begin, end uint64, limit int) ([]Shared, error) {
	return s.shared(ctx, sharedEffects, tenant, begin, end, limit)
}

func (s *Store) shared(ctx context.Context, query, tenant string, begin, end uint64, limit int) ([]Shared, error) {
	var row Shared
	var list []Shared
	args := []any{
		named("tenant", tenant), named("begin", begin), named("end", end), named("head", s.options.Head()), named("limit", uint64(limit)+1),
	}
	err := s.each(ctx, query, args, func() { list = append(list, row) }, &row.Value, &row.Other, &row.Records, &row.First, &row.Last)
	switch {
	case err != nil:
		return nil, wrap(err, "what %s shares", tenant)
	case len(list) > limit:
		return nil, fmt.Errorf("what %s shares: %w", tenant, ErrTooMany)
	}
	return list, nil
}

// digestTag is how a content digest begins in an event's bytes: field 6 of Data, 32 bytes long. Whatever has a digest has these two
// bytes, so that others need not be read.
const digestTag = "\x32\x20"

const ownContents = `
SELECT idx, bytes FROM ${db}.events
WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND kind = 'data' AND position(bytes, {tag:String}) > 0
ORDER BY idx`

const otherContents = `
SELECT toString(tenant), bytes FROM ${db}.events
WHERE tenant != {tenant:String} AND stream_seq <= {head:UInt64} AND kind = 'data' AND position(bytes, {tag:String}) > 0`

// SharedContents lists the contents, by digest in hexadecimal, that records of a tenant's leaves [begin, end) and committed records
// of other tenants both name; in no order. It holds one entry in memory for each content of the tenant. The error is ErrTooMany if there are
// more than limit.
func (s *Store) SharedContents(ctx context.Context, tenant string, begin, end uint64, limit int) ([]Shared, error) {
	ours, err := s.contents(ctx, tenant, begin, end)
	if err != nil {
		return nil, wrap(err, "contents of %s", tenant)
	}
	var other, bytes string
	seen := map[[2]string]bool{}
	var list []Shared
	args := []any{named("tenant", tenant), named("head", s.options.Head()), named("tag", digestTag)}
	err = s.each(ctx, otherContents, args, func() {
		digest := contentOf(bytes)
		if own, shared := ours[digest]; shared && !seen[[2]string{digest, other}] && len(list) <= limit {
			seen[[2]string{digest, other}] = true
			own.Value, own.Other = fmt.Sprintf("%x", digest), other
			list = append(list, own)
		}
	}, &other, &bytes)
	switch {
	case err != nil:
		return nil, wrap(err, "what %s shares", tenant)
	case len(list) > limit:
		return nil, fmt.Errorf("what %s shares: %w", tenant, ErrTooMany)
	}
	return list, nil
}

// contents are the contents that records of a tenant name, by digest.
func (s *Store) contents(ctx context.Context, tenant string, begin, end uint64) (map[string]Shared, error) {
	var index uint64
	var bytes string
	ours := map[string]Shared{}
	args := []any{named("tenant", tenant), named("begin", begin), named("end", end), named("tag", digestTag)}
	err := s.each(ctx, ownContents, args, func() {
		digest := contentOf(bytes)
		if digest == "" {
			return
		}
		own, known := ours[digest]
		if !known {
			own.First = index
		}
		own.Records++
		own.Last = index
		ours[digest] = own
	}, &index, &bytes)
	return ours, err
}

// contentOf is the digest of the content that an event names, empty if it names none.
func contentOf(encoded string) string {
	e, err := event.Parse([]byte(encoded))
	if err != nil {
		return "" // the column was changed: a check says so
	}
	return string(e.GetData().GetContentDigest())
}

const unreadable = `
SELECT count() FROM ${db}.leaves
WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND idx NOT IN
(
    SELECT idx FROM ${db}.events
    WHERE tenant = {tenant:String} AND idx >= {begin:UInt64} AND idx < {end:UInt64} AND kind != 'none' AND notEmpty(bytes)
)`

// Unreadable counts the leaves [begin, end) of a tenant whose plain content is not there: held, expired, or not an event.
func (s *Store) Unreadable(ctx context.Context, tenant string, begin, end uint64) (uint64, error) {
	return s.number(ctx, unreadable, named("tenant", tenant), named("begin", begin), named("end", end))
}
