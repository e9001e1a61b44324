package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
)

// Identity is who an emitter's key stands for.
type Identity struct {
	Tenant   event.TenantID   `json:"tenant"`
	Instance event.InstanceID `json:"instance"`
	KeyID    signer.KeyID     `json:"key_id"`
	Producer string           `json:"producer"` // "agent", "gateway" or "importer"
	Origin   string           `json:"origin"`   // the tenant's log
	Address  string           `json:"address"`  // host:port of Custody
	CA       string           `json:"ca,omitempty"`
	// ReceiptVerifier is the note verifier key of receipts, pinned at the first contact. Remove it by hand if the
	// operator has announced another key.
	ReceiptVerifier string `json:"receipt_verifier,omitempty"`
}

var (
	// ErrJoined says that the folder already holds an enrolled key.
	ErrJoined = errors.New("the folder already holds an enrolled emitter")
	// ErrNotJoined says that the folder holds no enrolled key: `custody join` makes one.
	ErrNotJoined = errors.New("the folder holds no enrolled emitter: run custody join")
)

// joinDomain separates the proof of Join from every other signature.
const joinDomain = "custody/join/v1\x00"

// Join makes a key in dir, proves to Custody at address that it holds it, and trades a one-time token for the right to
// use it. caPEM are the authorities that may vouch for Custody's certificate; empty are those of the system. If Join
// fails, it can be repeated: the key stays the same.
func Join(ctx context.Context, dir, token, address string, caPEM []byte) (Identity, error) {
	id, err := join(ctx, dir, token, address, caPEM)
	if err != nil {
		return Identity{}, fmt.Errorf("join: %w", err)
	}
	return id, nil
}

func join(ctx context.Context, dir, token, address string, caPEM []byte) (Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Identity{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, identityFile)); !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, errors.Join(ErrJoined, err)
	}
	key, err := signer.LoadOrCreate(filepath.Join(dir, keyFile))
	if err != nil {
		return Identity{}, err
	}
	answer, err := requestJoin(ctx, key, token, address, caPEM)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Address: address, CA: string(caPEM), KeyID: key.ID()}
	if err := id.take(answer); err != nil {
		return Identity{}, err
	}
	return id, writeJSON(filepath.Join(dir, identityFile), id)
}

func requestJoin(ctx context.Context, key *signer.Key, token, address string, caPEM []byte) (*apiv1.JoinResponse, error) {
	creds, err := transport(caPEM)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	public := key.Public()
	proof, err := key.Sign(JoinMessage(token, public))
	if err != nil {
		return nil, err
	}
	return apiv1.NewEnrolServiceClient(conn).Join(ctx, &apiv1.JoinRequest{Token: token, PublicKey: public[:], Proof: proof})
}

// JoinMessage is what an emitter signs to join: "custody/join/v1\0", SHA-256 of the token, the public key.
func JoinMessage(token string, public signer.PublicKey) []byte {
	sum := sha256.Sum256([]byte(token))
	return append(append([]byte(joinDomain), sum[:]...), public[:]...)
}

func (id *Identity) take(answer *apiv1.JoinResponse) error {
	switch {
	case string(answer.GetKeyId()) != string(id.KeyID[:]):
		return errors.New("answer: key_id is of another key")
	case !event.ValidName(answer.GetTenant()) || !event.ValidName(answer.GetInstance()):
		return errors.New("answer: tenant and instance must be 1 to 63 of a-z, 0-9 and -")
	}
	id.Tenant, id.Instance = event.TenantID(answer.GetTenant()), event.InstanceID(answer.GetInstance())
	id.Producer, id.Origin = event.Producers.Name(answer.GetProducer()), answer.GetOrigin()
	return nil
}

// loadIdentity reads a joined folder.
func loadIdentity(dir string) (Identity, *signer.Key, error) {
	var id Identity
	err := readJSON(filepath.Join(dir, identityFile), &id)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil, fmt.Errorf("%s: %w", dir, ErrNotJoined)
	}
	if err != nil {
		return id, nil, err
	}
	key, err := signer.Load(filepath.Join(dir, keyFile))
	if err != nil {
		return id, nil, err
	}
	if key.ID() != id.KeyID {
		return id, nil, fmt.Errorf("%s is not the key of %s", keyFile, identityFile)
	}
	return id, key, nil
}
