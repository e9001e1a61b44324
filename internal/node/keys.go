package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/signer"
)

var (
	// ErrKeysMissing says that the data folder has records and no longer the keys that sign them. New ones would be of no
	// use: every log names its own. They must be restored from a copy.
	ErrKeysMissing = errors.New("keys are missing: restore keys/ from its copy")
	// ErrOtherKeys says that the keys are not those that the logs name.
	ErrOtherKeys = errors.New("keys are of another system: restore keys/ from its copy")
)

// checkKeysThere refuses to make new signing keys where there is something that was signed with old ones. At the first
// start the keys are made before everything else.
func (n *Node) checkKeysThere() error {
	for _, name := range []string{"system.pem", "log.pem", "time.pem", "ca/ca.pem", "vault"} {
		_, err := os.Stat(n.folder.key(name))
		if !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, data := range []string{"stream", "store"} {
			if _, err := os.Stat(n.folder.path(data)); err == nil {
				return fmt.Errorf("%s: %w", n.folder.key(name), ErrKeysMissing)
			}
		}
	}
	return nil
}

// exports are the private export keys that replaced the log key.
func (n *Node) exports() signer.ExportKeys { return signer.ExportKeys(n.folder.key("export")) }

// exporter is the key that a log names for what is exported from it.
func (n *Node) exporter(log *registry.State) (signer.Exporter, error) {
	id := signer.KeyID(log.ExportKey().ID)
	if id == n.keys.log.ID() {
		return n.keys.log, nil
	}
	key, err := n.exports().Load(id)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "the export key of %s cannot be used (restore it, or begin another with custody key exports): %v", log.Tenant(), err)
	}
	return key, nil
}

// checkKeysOwn holds the keys against those that the logs name.
func (n *Node) checkKeysOwn(logs map[event.TenantID]*registry.State) error {
	for tenant, state := range logs {
		g := state.Genesis()
		if g == nil {
			continue
		}
		if signer.PublicKey(g.GetSystemKey()) != n.keys.system.Public() || signer.PublicKey(g.GetLogKey()) != n.keys.log.Public() {
			return fmt.Errorf("log of %s: %w", tenant, ErrOtherKeys)
		}
	}
	return nil
}
