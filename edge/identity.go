package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
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
	Rotation int              `json:"rotation,omitempty"` // keys that this one has replaced
	// ReceiptVerifier is the note verifier key of receipts, pinned at the first contact. Remove it by hand if the
	// operator has announced another key.
	ReceiptVerifier string `json:"receipt_verifier,omitempty"`
}

// keyFile is where the identity's key is: each rotation has a file of its own, so that writing the identity changes both.
func (id *Identity) keyFile() string {
	if id.Rotation == 0 {
		return keyFile
	}
	return fmt.Sprintf("key-%d.pem", id.Rotation)
}

var (
	// ErrJoined says that the folder already holds an enrolled key.
	ErrJoined = errors.New("the folder already holds an enrolled emitter")
	// ErrNotJoined says that the folder holds no enrolled key: `custody join` makes one.
	ErrNotJoined = errors.New("the folder holds no enrolled emitter: run custody join")
	// ErrDamaged says that a file of the folder is missing or cannot be read as what it should be. Only a copy brings its key back.
	ErrDamaged = errors.New("the emitter's folder is damaged")
)

// joinDomain separates the proof of Join from every other signature.
const joinDomain = "custody/join/v1\x00"

// Join makes a key in dir, proves to Custody at address that it holds it, and trades a one-time token for the right to
// use it. caPEM are the authorities that may vouch for Custody's certificate; empty are those of the system. If Join
// fails, it can be repeated: the key stays the same. If only the answer was lost, the token is used up, and another is needed.
func Join(ctx context.Context, dir, token, address string, caPEM []byte) (Identity, error) {
	id, err := join(ctx, dir, token, Identity{Address: address, CA: string(caPEM)})
	if err != nil {
		return Identity{}, fmt.Errorf("join: %w", err)
	}
	return id, nil
}

func join(ctx context.Context, dir, token string, id Identity) (Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Identity{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, identityFile)); !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, errors.Join(ErrJoined, err)
	}
	return enrol(ctx, dir, token, id, signer.KeyID{})
}

// enrol makes the key that id names, and enrols it. Writing the identity is the last step: before it, nothing has changed.
func enrol(ctx context.Context, dir, token string, id Identity, replaces signer.KeyID) (Identity, error) {
	key, err := signer.LoadOrCreate(filepath.Join(dir, id.keyFile()))
	if err != nil {
		return Identity{}, err
	}
	request, err := joinRequest(key, token)
	if err != nil {
		return Identity{}, err
	}
	if !replaces.IsZero() {
		request.Replaces = replaces[:]
	}
	answer, err := requestJoin(ctx, request, &id)
	if err != nil {
		return Identity{}, err
	}
	id.KeyID = key.ID()
	if err := id.take(answer, request); err != nil {
		return Identity{}, err
	}
	return id, writeJSON(filepath.Join(dir, identityFile), id)
}

// joinRequest proves the key twice: for the token, and for the log, where the proof will stand.
func joinRequest(key *signer.Key, token string) (*apiv1.JoinRequest, error) {
	named, err := readToken(token)
	if err != nil {
		return nil, err
	}
	public := key.Public()
	proof, err := key.Sign(JoinMessage(token, public))
	if err != nil {
		return nil, err
	}
	enrolment, err := key.Sign(event.EnrolmentMessage(named.tenant, named.instance, named.producer, public[:]))
	if err != nil {
		return nil, err
	}
	return &apiv1.JoinRequest{Token: token, PublicKey: public[:], Proof: proof, Enrolment: enrolment}, nil
}

// tokenNames is what a join token says that it is for: "custody-join", tenant, instance, producer class and secret, with
// "_" between them.
type tokenNames struct {
	tenant, instance string
	producer         eventv1.ProducerClass
}

func readToken(token string) (tokenNames, error) {
	parts := strings.Split(strings.TrimSpace(token), "_")
	if len(parts) != 5 || parts[0] != "custody-join" || !event.ValidName(parts[1]) || !event.ValidName(parts[2]) {
		return tokenNames{}, errors.New("token: not a join token")
	}
	producer, known := event.Producers.Parse(parts[3])
	if !known || producer == 0 {
		return tokenNames{}, fmt.Errorf("token: producer class %q is not known", parts[3])
	}
	return tokenNames{parts[1], parts[2], producer}, nil
}

func requestJoin(ctx context.Context, request *apiv1.JoinRequest, id *Identity) (*apiv1.JoinResponse, error) {
	creds, err := transport([]byte(id.CA))
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(id.Address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return apiv1.NewEnrolServiceClient(conn).Join(ctx, request)
}

// JoinMessage is what an emitter signs to join: "custody/join/v1\0", SHA-256 of the token, the public key.
func JoinMessage(token string, public signer.PublicKey) []byte {
	sum := sha256.Sum256([]byte(token))
	return append(append([]byte(joinDomain), sum[:]...), public[:]...)
}

// take checks that the answer is for what was asked.
func (id *Identity) take(answer *apiv1.JoinResponse, request *apiv1.JoinRequest) error {
	named, err := readToken(request.GetToken())
	switch {
	case err != nil:
		return err
	case !bytes.Equal(answer.GetKeyId(), id.KeyID[:]):
		return errors.New("answer: key_id is of another key")
	case answer.GetTenant() != named.tenant || answer.GetInstance() != named.instance || answer.GetProducer() != named.producer:
		return errors.New("answer: tenant, instance and producer are not those of the token")
	}
	id.Tenant, id.Instance = event.TenantID(answer.GetTenant()), event.InstanceID(answer.GetInstance())
	id.Producer, id.Origin = event.Producers.Name(answer.GetProducer()), answer.GetOrigin()
	return nil
}

// Rotate makes a new key and trades a one-time token for its right to replace the folder's key. Everything recorded must
// have its receipt (ErrUndelivered otherwise), and no process may use the folder. If Rotate fails, the old key stays.
func Rotate(ctx context.Context, dir, token string) (Identity, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return Identity{}, fmt.Errorf("rotate key: %w", err)
	}
	defer lock.Close()
	id, err := rotate(ctx, dir, token)
	if err != nil {
		return Identity{}, fmt.Errorf("rotate key: %w", err)
	}
	return id, nil
}

func rotate(ctx context.Context, dir, token string) (Identity, error) {
	old, _, err := loadIdentity(dir)
	if err != nil {
		return Identity{}, err
	}
	if err := checkDelivered(dir); err != nil {
		return Identity{}, err
	}
	named, err := readToken(token)
	if err == nil && (named.tenant != string(old.Tenant) || named.instance != string(old.Instance)) {
		err = fmt.Errorf("token: is for %s/%s, the folder is of %s/%s", named.tenant, named.instance, old.Tenant, old.Instance)
	}
	if err != nil {
		return Identity{}, err
	}
	next := old
	next.Rotation++
	if next, err = enrol(ctx, dir, token, next, old.KeyID); err != nil {
		return Identity{}, err
	}
	// The new key counts its own epochs from 1. If the process dies before this is done, they only begin higher.
	return next, errors.Join(os.RemoveAll(filepath.Join(dir, spoolDir)), os.Remove(filepath.Join(dir, old.keyFile())))
}

func checkDelivered(dir string) error {
	s, err := spool.Open(filepath.Join(dir, spoolDir), spool.Options{})
	if err != nil {
		return err
	}
	for _, q := range s.Queues() {
		if !q.Drained() {
			return errors.Join(ErrUndelivered, s.Close())
		}
	}
	return s.Close()
}

// loadIdentity reads a joined folder.
func loadIdentity(dir string) (Identity, *signer.Key, error) {
	var id Identity
	err := readJSON(filepath.Join(dir, identityFile), &id)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil, fmt.Errorf("%s: %w", dir, ErrNotJoined)
	}
	if err != nil {
		return id, nil, damaged(err)
	}
	key, err := signer.Load(filepath.Join(dir, id.keyFile()))
	if err != nil {
		return id, nil, damaged(err)
	}
	if key.ID() != id.KeyID {
		return id, nil, fmt.Errorf("%w: %s is not the key of %s", ErrDamaged, id.keyFile(), identityFile)
	}
	return id, key, nil
}

// damaged is what it means that a file of the folder cannot be used, unless only its mode is wrong.
func damaged(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, signer.ErrKeyExposed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}
