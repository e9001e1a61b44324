package node

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/notify"
)

// openNotify tells the receivers of a file, if there is one.
func (n *Node) openNotify(ctx context.Context) error {
	receivers, err := n.receivers()
	if err != nil {
		return err
	}
	n.notify, err = notify.Open(ctx, notify.Config{
		Source: n.stream, System: n.keys.system.Public(), Receivers: receivers, Dir: n.folder.path("notify"),
		Firings: n.waitingFirings, Now: n.cfg.Now, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.later(func() error { n.notify.Close(); return nil })
	return nil
}

// receivers reads the file of receivers, if there is one. A secret that is missing is an error.
func (n *Node) receivers() ([]notify.Receiver, error) {
	path := n.cfg.Notify
	if path == "" {
		path = n.folder.path("notify.yaml")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return notify.Load(path)
}

// waitingFirings are those of every tenant that wait for a person.
func (n *Node) waitingFirings() (list []notify.Firing) {
	for _, tenant := range n.admission.Tenants() {
		firings := n.rules.Firings(tenant, (*live.Firing).Wants)
		for _, f := range firings {
			list = append(list, notify.Firing{
				ID: f.ID, Tenant: tenant, Rule: f.Rule, Severity: string(f.Severity), Target: f.Target, Instance: f.Instance, Run: f.Run,
				Index: f.Index, Time: f.Time, NeedsPerson: f.NeedsPerson, Containment: f.Containment,
			})
		}
	}
	return list
}
