package cases

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// info is a case as callers see it.
func (s *Service) info(tenant event.TenantID, id ID) *apiv1.CaseInfo {
	if c := s.Engine.snapshot(tenant, id); c != nil {
		return infoOf(c)
	}
	return nil
}

func infoOf(c *Case) *apiv1.CaseInfo {
	info := &apiv1.CaseInfo{
		Case: string(c.ID), Tenant: string(c.Target.Tenant), Target: c.Target.String(), State: "open", OpenedBy: c.Opener,
		Reason: c.Reason, OpenedAt: c.OpenedAt, TriggerAt: c.TriggerAt, ClosedAt: c.ClosedAt, ClosedBy: c.Closer, Held: c.Held,
		Trigger: c.Trigger.info(), Failure: c.Failure.info(), Containments: slices.Clone(c.Containments),
	}
	for _, f := range c.Firings {
		info.Firings = append(info.Firings, f[:])
	}
	for i := range c.Items {
		info.Items = append(info.Items, c.Items[i].info())
	}
	for _, f := range c.Fixes {
		info.Fixes = append(info.Fixes, &apiv1.CaseFix{Kind: string(f.Kind), Event: f.ID[:], By: f.Actor, Reason: f.Reason})
	}
	if !c.Open() {
		info.State = "closed"
		return info
	}
	for _, m := range c.Missing() {
		info.Missing = append(info.Missing, strings.ReplaceAll(toDo[m], "%s", fmt.Sprintf("%s --tenant %s", c.ID, c.Target.Tenant)))
	}
	return info
}

func (v *Verdict) info() *apiv1.Verdict {
	return &apiv1.Verdict{Class: v.Class, By: v.Actor, Reason: v.Reason, Events: bytesOf(v.Events), JudgedAt: v.At}
}

func (i *Item) info() *apiv1.CaseItem {
	state := "open"
	switch {
	case i.Done:
		state = "done"
	case i.NotNeeded:
		state = "not needed"
	}
	return &apiv1.CaseItem{Item: i.Name, State: state, By: i.Actor, Reason: i.Reason, Events: bytesOf(i.Events)}
}

func bytesOf(ids []event.ID) [][]byte {
	list := make([][]byte, len(ids))
	for i := range ids {
		list[i] = ids[i][:]
	}
	return list
}

// part is what an act of the case cites, under one name.
type part struct {
	name string
	ids  []event.ID
}

func (c *Case) parts() []part {
	list := []part{{"opening", c.Opening}, {"added", c.Added}, {"trigger", c.Trigger.Events}, {"failure", c.Failure.Events}}
	for _, i := range c.Items {
		list = append(list, part{i.Name, i.Events})
	}
	for _, f := range c.Fixes {
		list = append(list, part{"fix", []event.ID{f.ID}})
	}
	return list
}

// citations are the ids of all events that the case cites, each once.
func (c *Case) citations() (all []event.ID) {
	for _, p := range c.parts() {
		for _, id := range p.ids {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// citedEvents says where the events that the case cites stand, and what for.
func (c *Case) citedEvents(found []Record) (list []*apiv1.CitedEvent) {
	for _, r := range found {
		var as []string
		for _, p := range c.parts() {
			if slices.Contains(p.ids, r.ID) {
				as = append(as, p.name)
			}
		}
		list = append(list, &apiv1.CitedEvent{
			Id: r.ID[:], Index: r.Index, ReceivedAt: r.Received, Action: event.Action(r.Event), Instance: r.Event.GetInstance(),
			Run: r.Event.GetRun(), CitedAs: strings.Join(slices.Compact(as), ", "),
		})
	}
	return list
}
