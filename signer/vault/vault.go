package vault

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// MaxFingerprintKeys is how many fingerprint keys a tenant can have: each is tried by nobody else than who names it, but
// a value can only be traced through so many.
const MaxFingerprintKeys = 16

// MaxSubject is the longest subject in bytes: pseudonymous ids are short.
const MaxSubject = 1024

// PEM labels of the tenant's own keys.
const (
	kekLabel         = "CUSTODY KEY-ENCRYPTION KEY"
	fingerprintLabel = "CUSTODY FINGERPRINT KEY"
)

var (
	// ErrUnknownKey says that there never was such a key.
	ErrUnknownKey = errors.New("data key is unknown")
	// ErrName says that a tenant or subject cannot be a name.
	ErrName = errors.New("not a valid name")
	// ErrLocked says that another process has the folder open.
	ErrLocked = errors.New("key vault is open in another process")
	// ErrClosed says that the vault was closed.
	ErrClosed = errors.New("key vault is closed")
)

var tenantName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Vault is a folder of data keys. It is safe for concurrent use.
type Vault struct {
	dir  string
	lock *os.File

	mu      sync.RWMutex // guards the fields below; held while a tenant's file is read
	closed  bool
	tenants map[string]*tenant
}

// OpenDir opens the vault in a folder, making the folder (mode 0700) if it does
// not exist. A tenant's files are read when it is first used. The error is
// ErrLocked while another process has it open.
func OpenDir(dir string) (*Vault, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open key vault: %w", err)
	}
	lock, err := keyfile.Lock(filepath.Join(dir, "lock"), ErrLocked)
	if err != nil {
		return nil, fmt.Errorf("open key vault %s: %w", dir, err)
	}
	if err := removeLeftovers(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open key vault: %w", err), lock.Close())
	}
	return &Vault{dir: dir, lock: lock, tenants: map[string]*tenant{}}, nil
}

// Check reads the secrets on which the keys of every tenant in a folder rest. It changes nothing and takes no lock, so the
// vault may be open elsewhere. The error names the file: ErrCorrupt, or why it cannot be read.
func Check(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("check key vault: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.keys"))
	if err != nil {
		return fmt.Errorf("check key vault: %w", err)
	}
	for _, name := range names {
		tenant := strings.TrimSuffix(name, ".keys")
		_, err := loadSecrets(tenant+".kek", kekLabel, 1)
		if err == nil {
			_, err = loadSecrets(tenant+".fpk", fingerprintLabel, MaxFingerprintKeys)
		}
		if err != nil {
			return fmt.Errorf("check key vault %s: %w", dir, err)
		}
	}
	return nil
}

// removeLeftovers deletes what a crash left of files that never came to be.
func removeLeftovers(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, ".*"+keyfile.TempSuffix))
	if err != nil {
		return fmt.Errorf("find temporary files: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove temporary file: %w", err)
		}
	}
	return nil
}

// Close releases the folder. Keys that were handed out go on working.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	var errs []error
	for _, t := range v.tenants {
		errs = append(errs, t.close())
	}
	if err := errors.Join(append(errs, v.lock.Close())...); err != nil {
		return fmt.Errorf("close key vault: %w", err)
	}
	return nil
}

// Ensure returns the current key of each subject, in order. Missing keys are
// made, all with one sync (one for each 4,096), and are durable when Ensure
// returns; on an error none may be used. The tenant's files are made at its
// first use. Errors: ErrName, ErrCorrupt, ErrClosed.
func (v *Vault) Ensure(tenant string, subjects []string) ([]*Key, error) {
	for _, s := range subjects {
		if err := checkSubject(s); err != nil {
			return nil, fmt.Errorf("ensure data keys: %w", err)
		}
	}
	t, err := v.tenant(tenant, true)
	if err != nil {
		return nil, fmt.Errorf("ensure data keys: %w", err)
	}
	keys, err := t.ensure(subjects)
	if err != nil {
		return nil, fmt.Errorf("ensure data keys of %s: %w", tenant, err)
	}
	return keys, nil
}

// Get returns the key of one generation, to open what was sealed with it.
// Errors: ErrUnknownKey, ErrErased, ErrName, ErrCorrupt, ErrClosed.
func (v *Vault) Get(tenant, subject string, generation uint32) (*Key, error) {
	t, err := v.tenant(tenant, false)
	if err != nil {
		return nil, fmt.Errorf("get data key: %w", err)
	}
	k, err := t.get(subject, generation)
	if err != nil {
		return nil, fmt.Errorf("get data key of %s, generation %d: %w", tenant, generation, err)
	}
	return k, nil
}

// Erased reports whether the key of this generation was destroyed. A key that
// never was is not erased. Errors: ErrName, ErrCorrupt, ErrClosed.
func (v *Vault) Erased(tenant, subject string, generation uint32) (bool, error) {
	t, err := v.tenant(tenant, false)
	if errors.Is(err, ErrUnknownKey) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up erasure: %w", err)
	}
	return generation > 0 && t.isErased(subject, generation), nil
}

// FingerprintKey returns the tenant's newest HMAC key for fingerprints, the last of FingerprintKeys.
func (v *Vault) FingerprintKey(tenant string) ([32]byte, error) {
	keys, err := v.FingerprintKeys(tenant)
	if err != nil {
		return [32]byte{}, err
	}
	return keys[len(keys)-1], nil
}

// FingerprintKeys returns the tenant's HMAC keys for fingerprints: the key with
// number n, counted from 1, stands at n-1. The first is made, durably, at the
// tenant's first use; no key ever changes. They must not be printed.
func (v *Vault) FingerprintKeys(tenant string) ([][32]byte, error) {
	t, err := v.tenant(tenant, true)
	if err != nil {
		return nil, fmt.Errorf("fingerprint key: %w", err)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clip(t.fingerprints), nil
}

// RotateFingerprintKey makes a further fingerprint key, durably, and returns its
// number. Values are no longer traced between what was recorded before and after.
func (v *Vault) RotateFingerprintKey(tenant string) (number uint32, err error) {
	t, err := v.tenant(tenant, true)
	if err == nil {
		number, err = t.rotateFingerprint(filepath.Join(v.dir, tenant+".fpk"))
	}
	if err != nil {
		return 0, fmt.Errorf("rotate fingerprint key: %w", err)
	}
	return number, nil
}

func checkSubject(s string) error {
	if s == "" || len(s) > MaxSubject {
		return fmt.Errorf("subject of %d bytes, want 1 to %d: %w", len(s), MaxSubject, ErrName)
	}
	return nil
}

// tenant returns an open tenant. If it has no files, they are made, or, unless
// create, the error is ErrUnknownKey.
func (v *Vault) tenant(name string, create bool) (*tenant, error) {
	v.mu.RLock()
	t, closed := v.tenants[name], v.closed
	v.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if t != nil {
		return t, nil
	}
	if !tenantName.MatchString(name) {
		return nil, fmt.Errorf("tenant %q: %w", name, ErrName)
	}
	return v.open(name, create)
}

func (v *Vault) open(name string, create bool) (*tenant, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	if t, ok := v.tenants[name]; ok {
		return t, nil
	}
	path := filepath.Join(v.dir, name+".keys")
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, fmt.Errorf("tenant %s: %w", name, ErrUnknownKey)
	}
	t, err := v.load(name, path, err)
	if err != nil {
		return nil, fmt.Errorf("open tenant %s: %w", name, err)
	}
	v.tenants[name] = t
	return t, nil
}

// load reads the files of a tenant. They are made in the order in which they
// depend on each other, so that after a crash the next call makes the rest;
// but once there is a key file, nothing that it depends on is made anew.
func (v *Vault) load(name, path string, statErr error) (*tenant, error) {
	read := loadSecrets
	if errors.Is(statErr, fs.ErrNotExist) {
		read = loadOrCreateSecrets
	}
	keks, err := read(filepath.Join(v.dir, name+".kek"), kekLabel, 1)
	if err != nil {
		return nil, err
	}
	kek := keks[0]
	defer clear(kek[:])
	defer clear(keks[0][:])
	fingerprints, err := read(filepath.Join(v.dir, name+".fpk"), fingerprintLabel, MaxFingerprintKeys)
	if err != nil {
		return nil, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := keyfile.Create(path, []byte(fileHeader)); err != nil {
			return nil, err
		}
	}
	return openTenant(name, path, kek, fingerprints)
}

// loadSecrets reads a file of 1 to most secrets.
func loadSecrets(path, label string, most int) ([][keySize]byte, error) {
	data, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: %w", filepath.Base(path), ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return parseSecrets(path, label, data, most)
}

// loadOrCreateSecrets is loadSecrets, which makes the first if there is no file.
func loadOrCreateSecrets(path, label string, most int) ([][keySize]byte, error) {
	data, err := keyfile.LoadOrCreate(path, func() ([]byte, error) {
		_, encoded := newSecret(label)
		return encoded, nil
	})
	if err != nil {
		return nil, err
	}
	return parseSecrets(path, label, data, most)
}

func newSecret(label string) (secret [keySize]byte, encoded []byte) {
	rand.Read(secret[:]) // never fails
	return secret, encodeSecret(label, secret)
}

func encodeSecret(label string, secret [keySize]byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: secret[:]})
}

func parseSecrets(path, label string, data []byte, most int) (secrets [][keySize]byte, err error) {
	for rest := data; len(secrets) == 0 || strings.TrimSpace(string(rest)) != ""; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != label || len(block.Bytes) != keySize || len(secrets) == most {
			return nil, fmt.Errorf("%s is not 1 to %d %q of %d bytes: %w", filepath.Base(path), most, label, keySize, ErrCorrupt)
		}
		secrets = append(secrets, [keySize]byte(block.Bytes))
	}
	return secrets, nil
}
