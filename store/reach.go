package store

import (
	"context"
	"strings"

	"github.com/agentcustody/custody/event"
)

// MaxReach is how many credentials, and how many descendants, Reach lists: more than a person reads.
const MaxReach = 256

const (
	reachedCredentials = `
SELECT DISTINCT toString(credential) AS value FROM ${db}.events
WHERE ${of} AND credential != ''
ORDER BY value LIMIT {limit:UInt64}`

	reachedDescendants = `
SELECT DISTINCT value FROM
(
    SELECT toString(delegate) AS value FROM ${db}.events WHERE ${of} AND delegate != ''
    UNION ALL
    SELECT value FROM
    (
        SELECT toString(instance) AS value, arrayJoin(causes) AS cause FROM ${db}.events
        WHERE tenant = {tenant:String} AND stream_seq <= {head:UInt64} AND notEmpty(causes) AND instance NOT IN {instances:Array(String)}
    )
    WHERE cause IN (SELECT id FROM ${db}.events WHERE ${of} AND kind NOT IN ('none', 'system'))
)
ORDER BY value LIMIT {limit:UInt64}`
)

// Reach lists, sorted and at most MaxReach each, what the committed records say of a target: the fingerprints of the credentials that
// it has bound, in hexadecimal, and who else has acted because of it: instances whose events name one of its events as a
// cause, and those that it has delegated to, as it calls them. instances are those that the target reaches.
func (s *Store) Reach(ctx context.Context, t event.Target, instances []event.InstanceID) (credentials, descendants []string, err error) {
	b := reachOf(t, instances, s.options.Head())
	b.args = append(b.args, named("limit", uint64(MaxReach)))
	if credentials, err = s.values(ctx, b.where(reachedCredentials), b.args); err != nil {
		return nil, nil, wrap(err, "credentials of %s", t)
	}
	if descendants, err = s.values(ctx, b.where(reachedDescendants), b.args); err != nil {
		return nil, nil, wrap(err, "descendants of %s", t)
	}
	return credentials, descendants, nil
}

// where puts the conditions into a query.
func (b *builder) where(query string) string {
	return strings.ReplaceAll(query, "${of}", strings.Join(b.conditions, " AND "))
}

// reachOf are the conditions of a target's own events.
func reachOf(t event.Target, instances []event.InstanceID, head uint64) *builder {
	b := &builder{}
	b.add("tenant = {tenant:String}", "tenant", string(t.Tenant))
	b.add("stream_seq <= {head:UInt64}", "head", head)
	names := make([]string, len(instances))
	for i, name := range instances {
		names[i] = string(name)
	}
	b.add("instance IN {instances:Array(String)}", "instances", names)
	switch t.Kind {
	case event.TargetRun:
		b.text("run", t.Name)
	case event.TargetPrincipal:
		b.text("principal", t.Name)
	case event.TargetConnector:
		b.text("connector", t.Name)
	case event.TargetCredential:
		b.text("credential", t.Name)
	case event.TargetTenant, event.TargetInstance: // all that the instances do
	}
	return b
}

func (s *Store) values(ctx context.Context, query string, args []any) (list []string, err error) {
	var value string
	err = s.each(ctx, query, args, func() { list = append(list, value) }, &value)
	return list, err
}
