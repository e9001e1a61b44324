package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/object"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
)

// objectTable names objects in a problem, as a table does.
const objectTable = "objects"

// objectOpening is the length of an encrypted opening that holds a salt and no value.
const objectOpening = vault.Overhead + event.SaltSize

// objectCheck reads every object that a committed event names and holds it to its commitment.
type objectCheck struct {
	node  *Node
	count uint64 // of objects that were read
	last  ledger.Progress
	tell  func(ledger.Progress)
}

func (c *objectCheck) run(ctx context.Context, tenants []event.TenantID) error {
	if len(tenants) == 0 {
		tenants = c.node.admission.Tenants()
	}
	for _, tenant := range tenants {
		for o, err := range c.node.store.OpeningsOfLength(ctx, string(tenant), objectOpening) {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			c.one(tenant, o)
		}
	}
	return nil
}

// one checks one object. What cannot be said without the key, or is erased, is no problem.
func (c *objectCheck) one(tenant event.TenantID, o *store.ObjectOpening) {
	e, s := fieldOf(o.Event, o.Path)
	if s == nil || !event.StandsForObject(s, &eventv1.Opening{}) {
		return // held, expired, or an empty value
	}
	ref := object.RefOf(e, s)
	err := c.node.checkObject(&ref, &o.Opening)
	switch {
	case errors.Is(err, vault.ErrErased), errors.Is(err, vault.ErrUnknownKey):
		return
	case err == nil:
		c.count++
		return
	}
	c.last.Problems++
	report := c.last
	report.Problem = &store.Problem{
		Tenant: string(tenant), Table: objectTable, Row: fmt.Sprintf("tenant=%q idx=%d", tenant, o.Index), Column: o.Path, Message: err.Error(),
	}
	c.tell(report)
}

// fieldOf is a sealed field of an encoded event; nil if there is none.
func fieldOf(encoded []byte, path string) (*eventv1.Event, *eventv1.Sealed) {
	e, err := event.Parse(encoded)
	if err != nil {
		return nil, nil
	}
	if s := sealedField(e, path); s != nil {
		return e, s
	}
	return nil, nil
}

// sealedField is a sealed field of an event; nil if it has none of that path.
func sealedField(e *eventv1.Event, path string) *eventv1.Sealed {
	for _, s := range e.GetSealed() {
		if s.GetPath() == path {
			return s
		}
	}
	return nil
}

// checkObject opens an opening and its object.
func (n *Node) checkObject(ref *object.Ref, o *store.Opening) error {
	key, err := n.vault.Get(string(ref.Tenant), content.SubjectKey(o.Subject), o.Generation)
	if err != nil {
		return err
	}
	plain, err := vault.Open(key, content.AppendOpeningData(nil, ref.Tenant, ref.Event, ref.Path), o.Ciphertext)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	salt, _, err := content.SplitOpening(plain)
	if err != nil {
		return err
	}
	return n.objects.Check(ref, &salt)
}
