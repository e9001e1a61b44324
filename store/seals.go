package store

import "context"

// selectSeals counts the clear events of an instance or a run that seal content
// about a subject, and the held events that may: their columns are blank but for
// the instance, and only their openings name a subject.
const selectSeals = `
SELECT count() FROM ${db}.events
WHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64} AND (instance = {instance:String} OR {instance:String} = '')
  AND (has(subjects, {subject:String}) AND (run = {run:String} OR {run:String} = '')
       OR verdict = 'held' AND idx IN (
           SELECT idx FROM ${db}.openings
           WHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64} AND subject = {subject:String}))`

// Seals reports whether a committed event of an instance or of a run, whichever
// is given, seals content about a subject. Of a held event nothing but its
// instance is known, so it counts for every run.
func (s *Store) Seals(ctx context.Context, tenant, subject, instance, run string) (bool, error) {
	args := append(s.headArgs(), named("tenant", tenant), named("subject", subject), named("instance", instance), named("run", run))
	n, err := s.number(ctx, selectSeals, args...)
	return n > 0, err
}
