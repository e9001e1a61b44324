package object

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
)

var (
	// ErrMissing says that the object is not there, or is not the one that was asked for.
	ErrMissing = errors.New("object is missing")
	// ErrDamaged says that the file does not hold what was put.
	ErrDamaged = errors.New("object is damaged")
	// ErrNoRoom says that the volume has no more than its reserve: put it again later.
	ErrNoRoom = errors.New("no room for an object")
)

// Keys keep data keys. vault.Vault is one.
type Keys interface {
	// Ensure returns the current key of each name; they are durable.
	Ensure(tenant string, names []string) ([]*vault.Key, error)
	// Get returns the key of a name and generation.
	Get(tenant, name string, generation uint32) (*vault.Key, error)
	// FingerprintKeys returns the tenant's HMAC keys, at least one. The first never changes.
	FingerprintKeys(tenant string) ([][32]byte, error)
}

// Ref names an object: a sealed field of one event.
type Ref struct {
	Tenant    event.TenantID
	Event     event.ID
	Path      string
	MediaType string
	Subject   string
	Size      uint64 // of the value in bytes
	Digest    [event.DigestSize]byte
}

// RefOf names the object of a sealed field of an event that was parsed.
func RefOf(e *eventv1.Event, s *eventv1.Sealed) Ref {
	return Ref{
		Tenant: event.TenantID(e.GetTenant()), Event: event.ID(e.GetId()), Path: s.GetPath(), MediaType: s.GetMediaType(),
		Subject: s.GetSubject(), Size: s.GetSize(), Digest: [event.DigestSize]byte(s.GetDigest()),
	}
}

// Store is a folder of objects. It is safe for concurrent use by one process.
type Store struct {
	dir     string
	keys    Keys
	reserve int64 // bytes of the volume that objects leave free

	mu sync.Mutex // held while a name changes: Claim and Sweep
}

// Open returns the store in dir, which need not exist. Objects leave reserve bytes of the volume free, if that is positive.
func Open(dir string, keys Keys, reserve int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open objects: %w", err)
	}
	return &Store{dir: dir, keys: keys, reserve: reserve}, nil
}

// newSuffix marks an object that no batch has named yet.
const newSuffix = ".new"

// path is the file of an object that is kept.
func (s *Store) path(r *Ref) (string, error) {
	if !event.ValidName(string(r.Tenant)) {
		return "", fmt.Errorf("tenant %q: %w", r.Tenant, ErrMissing)
	}
	keys, err := s.keys.FingerprintKeys(string(r.Tenant))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, keys[0][:])
	mac.Write([]byte(domain))
	mac.Write(r.Digest[:])
	mac.Write([]byte(r.Subject))
	name := hex.EncodeToString(mac.Sum(nil))
	return filepath.Join(s.dir, string(r.Tenant), name[:2], name[2:]), nil
}

// open opens the file of an object, whether a batch has named it or not.
func (s *Store) open(r *Ref) (*os.File, error) {
	path, err := s.path(r)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{path + newSuffix, path} { // in this order: it may be claimed in between
		file, err := os.Open(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, ErrMissing
}

// Claim names objects in a batch that is about to be published: from now on they are kept. The names are durable when
// Claim has returned. The error is ErrMissing if one is not there.
func (s *Store) Claim(refs []Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := map[string]bool{}
	for i := range refs {
		path, err := s.path(&refs[i])
		if err != nil {
			return fmt.Errorf("claim object: %w", err)
		}
		if err := claim(path); err != nil {
			return fmt.Errorf("claim object: %w", err)
		}
		changed[filepath.Dir(path)] = true
	}
	for dir := range changed {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("claim objects: %w", err)
		}
	}
	return nil
}

// claim gives an object its last name. A newer one replaces it: the older was damaged.
func claim(path string) error {
	err := os.Rename(path+newSuffix, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ErrMissing
	}
	return err
}

// key is the current data key of a subject.
func (s *Store) key(r *Ref) (*vault.Key, error) {
	keys, err := s.keys.Ensure(string(r.Tenant), []string{content.SubjectKey(r.Subject)})
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
