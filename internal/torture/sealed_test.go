package torture

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/signer/vault"
)

// sealed is one encrypted opening of the log.
type sealed struct {
	Event      event.ID
	Path       string
	Subject    string
	Generation uint32
	Ciphertext []byte
}

// sealings are all openings of the log.
type sealings struct {
	Failed string
	All    []sealed
}

func sealedContent(n *node.Node) (all sealings) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for m, err := range n.Store().Messages(ctx, tenant, 0) {
		if err != nil {
			return sealings{Failed: err.Error()}
		}
		for _, o := range m.Batch.GetOpenings() {
			e, err := event.Parse(m.Batch.GetEvents()[o.GetPosition()])
			if err != nil {
				return sealings{Failed: err.Error()}
			}
			all.All = append(all.All, sealed{event.ID(e.GetId()), o.GetPath(), o.GetSubject(), o.GetGeneration(), o.GetCiphertext()})
		}
	}
	return all
}

// opens ends the server and opens all sealed content with the keys that it leaves behind: none may be lost.
func (s *site) opens() {
	s.t.Helper()
	var all sealings
	s.server.ask("sealed", &all)
	s.stop()
	keys, err := vault.OpenDir(filepath.Join(s.config.Data, "keys", "vault"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer keys.Close()
	wrong := 0
	for _, o := range all.All {
		if err := o.open(keys); err != nil {
			s.t.Errorf("content of event %s about %s: %v", o.Event, o.Subject, err)
			if wrong++; wrong == 10 {
				s.t.Fatal("and more")
			}
		}
	}
	if all.Failed != "" || len(all.All) == 0 {
		s.t.Errorf("%d sealed fields: %s", len(all.All), all.Failed)
	}
}

func (o *sealed) open(keys *vault.Vault) error {
	key, err := keys.Get(tenant, content.SubjectKey(o.Subject), o.Generation)
	if err != nil {
		return err
	}
	plain, err := vault.Open(key, content.AppendOpeningData(nil, tenant, o.Event, o.Path), o.Ciphertext)
	if err != nil {
		return err
	}
	if _, value, err := content.SplitOpening(plain); err != nil || len(value) == 0 {
		return fmt.Errorf("%d bytes: %w", len(value), err)
	}
	return nil
}
