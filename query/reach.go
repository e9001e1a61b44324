package query

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// manifest is one manifest of an instance with the leaf that put it in force.
type manifest struct {
	row    *store.Row
	change *eventv1.ManifestChange
}

// manifestsOf are the manifests of an instance, oldest first.
func (s *Service) manifestsOf(ctx context.Context, tenant event.TenantID, instance string) (list []manifest, err error) {
	b := blast{service: s, tenant: tenant}
	f := store.Filter{Action: "system.manifest", Object: instance, Limit: maxGroups, Newest: true}
	err = b.each(ctx, f, func(r *store.Row, e *eventv1.Event) {
		list = append(list, manifest{r, e.GetSystem().GetManifest()})
	})
	return list, err
}

// inForceAt is the manifest in force at an index, nil if there is none.
func inForceAt(list []manifest, index uint64) *eventv1.ManifestChange {
	for _, m := range slices.Backward(list) {
		if m.row.Index < index {
			return m.change
		}
	}
	return nil
}

// readManifests reads those in force at any time since then, and what they allow.
func (b *blast) readManifests(ctx context.Context) (err error) {
	if b.manifests, err = b.service.manifestsOf(ctx, b.tenant, b.req.GetInstance()); err != nil {
		return err
	}
	for i, m := range b.manifests {
		if replaced := i+1 < len(b.manifests) && b.manifests[i+1].row.Received <= b.req.GetFrom(); replaced {
			continue
		}
		b.out.Manifests = append(b.out.Manifests, &apiv1.ReachManifest{
			Version: m.change.GetVersion(), Index: m.row.Index, ReceivedAt: m.row.Received, Id: m.row.ID[:],
		})
		for _, p := range m.change.GetPermissions() {
			b.permit(p, m.change.GetVersion())
		}
	}
	return nil
}

// permit adds a permission once, with the versions that have it.
func (b *blast) permit(p *eventv1.Permission, version uint32) {
	for _, known := range b.out.Permissions {
		if samePermission(known.GetPermission(), p) {
			known.Last = version
			return
		}
	}
	b.out.Permissions = append(b.out.Permissions, &apiv1.ReachPermission{Permission: p, First: version, Last: version})
}

func samePermission(a, b *eventv1.Permission) bool {
	return a.GetVerb() == b.GetVerb() && a.GetTool() == b.GetTool() && a.GetResource() == b.GetResource() &&
		a.GetConsequence() == b.GetConsequence() && a.GetConnector() == b.GetConnector()
}

// countUse counts for each permission the effects that it covers.
func (b *blast) countUse(effects []*apiv1.Effect) {
	for _, p := range b.out.Permissions {
		for _, e := range effects {
			if event.Covers(p.GetPermission(), event.ToolCall{Tool: e.GetTool(), Connector: e.GetConnector(), Destination: e.GetDestination()}) {
				p.Used++
			}
		}
	}
}

// held is a credential with when the instance last let it go.
type held struct {
	*apiv1.ReachCredential
	releasedAt int64
}

// readCredentials reads what was bound to the instance at any time since then, and who else has it.
func (b *blast) readCredentials(ctx context.Context) error {
	all, err := b.credentialEvents(ctx)
	if err != nil {
		return err
	}
	byPrint := map[string]*held{}
	for _, x := range all {
		key := string(x.event.GetIdentity().GetCredential().GetFingerprint())
		if byPrint[key] == nil {
			byPrint[key] = &held{ReachCredential: &apiv1.ReachCredential{Fingerprint: []byte(key)}}
		}
		byPrint[key].take(x, b.req.GetFrom())
	}
	for _, key := range slices.Sorted(maps.Keys(byPrint)) {
		if c := byPrint[key]; !c.GetReleased() || c.releasedAt >= b.req.GetFrom() {
			b.out.Credentials = append(b.out.Credentials, c.ReachCredential)
		}
	}
	return b.shareCredentials(ctx)
}

// seenAt is an event with its leaf.
type seenAt struct {
	row   *store.Row
	event *eventv1.Event
}

// credentialEvents are the instance's events about credentials, in index order.
func (b *blast) credentialEvents(ctx context.Context) (all []seenAt, err error) {
	for _, action := range []string{"identity.credential_bound", "identity.credential_used", "identity.credential_released"} {
		f := store.Filter{Instance: b.req.GetInstance(), Action: action, Limit: MaxRows, Newest: true}
		if err := b.each(ctx, f, func(r *store.Row, e *eventv1.Event) { all = append(all, seenAt{r, e}) }); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(x, y seenAt) int { return byIndex(x.row, y.row) })
	return all, nil
}

// take takes in one event about the credential.
func (c *held) take(x seenAt, from int64) {
	switch x.event.GetIdentity().GetAction() {
	case eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_RELEASED:
		c.Released, c.releasedAt = true, x.row.Received
		return
	case eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_USED:
		if x.row.Received >= from {
			c.Used++
		}
	}
	bound := x.event.GetIdentity().GetCredential()
	c.Released, c.Connector = false, cmp.Or(bound.GetConnector(), c.GetConnector())
	c.ExpiresAt = cmp.Or(bound.GetExpiresAt(), c.GetExpiresAt())
	if len(bound.GetScopes()) > 0 {
		c.Scopes = bound.GetScopes()
	}
}

// shareCredentials looks for other instances that have the same credentials.
func (b *blast) shareCredentials(ctx context.Context) (err error) {
	if len(b.out.Credentials) > maxKeys {
		b.out.Cut = true
	}
	for _, c := range b.out.Credentials[:min(maxKeys, len(b.out.Credentials))] {
		f := store.Filter{Credential: hex.EncodeToString(c.GetFingerprint())}
		if c.Others, err = b.others(ctx, f, 0, nil); err != nil {
			return err
		}
	}
	return nil
}

// others are the other instances with events of a filter, in order; count gets those after an index.
func (b *blast) others(ctx context.Context, f store.Filter, after uint64, count *uint32) ([]string, error) {
	found := map[string]bool{}
	f.Limit, f.Newest = MaxRows, true
	err := b.each(ctx, f, func(r *store.Row, _ *eventv1.Event) {
		if r.Instance == b.req.GetInstance() {
			return
		}
		found[r.Instance] = true
		if count != nil && r.Index > after {
			*count++
		}
	})
	return slices.Sorted(maps.Keys(found)), err
}

// readDelegates reads to whom the instance has ever delegated.
func (b *blast) readDelegates(ctx context.Context) error {
	found := map[string]bool{}
	f := store.Filter{Instance: b.req.GetInstance(), Action: "identity.delegated", Limit: maxGroups, Newest: true}
	err := b.each(ctx, f, func(_ *store.Row, e *eventv1.Event) { found[e.GetIdentity().GetDelegate()] = true })
	b.out.Delegates = slices.Sorted(maps.Keys(found))
	return err
}

// readMemories lists the memory keys that the instance used since then, with who else reads them.
func (b *blast) readMemories(ctx context.Context) error {
	first := map[string]uint64{}
	for i, e := range b.events {
		if d := e.GetData(); d.GetMemoryKey() != "" {
			b.memory(first, d, b.rows[i].Index)
		}
	}
	if len(b.out.Memories) > maxKeys {
		b.out.Memories, b.out.Cut = b.out.Memories[:maxKeys], true
	}
	for _, m := range b.out.Memories {
		written, ever := first[m.GetMemoryKey()]
		f := store.Filter{MemoryKey: m.GetMemoryKey(), Action: "data.memory_read"}
		var after uint32
		readers, err := b.others(ctx, f, written, &after)
		if err != nil {
			return err
		}
		if m.Readers = readers; ever {
			m.ReadsAfter = after
		}
	}
	return nil
}

func (b *blast) memory(first map[string]uint64, d *eventv1.Data, index uint64) {
	i := slices.IndexFunc(b.out.Memories, func(m *apiv1.ReachMemory) bool { return m.GetMemoryKey() == d.GetMemoryKey() })
	if i < 0 {
		i = len(b.out.Memories)
		b.out.Memories = append(b.out.Memories, &apiv1.ReachMemory{MemoryKey: d.GetMemoryKey()})
	}
	m := b.out.Memories[i]
	if d.GetAction() != eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN {
		m.Read++
		return
	}
	if m.Written++; m.Written == 1 {
		first[d.GetMemoryKey()] = index
	}
}

// connectors are all that permissions, credentials and calls name.
func (b *blast) connectors() {
	found := map[string]bool{}
	for _, p := range b.out.Permissions {
		found[p.GetPermission().GetConnector()] = true
	}
	for _, c := range b.out.Credentials {
		found[c.GetConnector()] = true
	}
	for _, e := range b.events {
		found[e.GetExecution().GetConnector()] = true
	}
	delete(found, "")
	b.out.Connectors = slices.Sorted(maps.Keys(found))
}
