package vault

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

const (
	wrapDomain    = "custody/datakey/v1\x00"
	subjectDomain = "custody/subject/v1"
)

// maxCached bounds how many unwrapped keys a tenant keeps in memory; each takes
// about 1 KiB.
const maxCached = 1 << 16

// subject is what is known of one subject. It stays in memory, about 250 bytes,
// as long as the vault is open.
type subject struct {
	hash   subjectHash
	erased atomic.Uint32 // this generation and all before it are gone
	seals  atomic.Uint64 // values sealed by this process under the last generation
	keys   []wrapped     // ascending generations > erased; guarded by the tenant's locks
}

// tenant is the key file of one tenant.
//
// writing is held by whoever changes the file, through the sync; mu only while
// memory changes. So what mu guards changes under both locks and may be read
// under either, and nobody who has a key waits for a sync.
type tenant struct {
	name    string
	path    string
	wrap    cipher.AEAD // key-encryption key
	hashKey []byte

	writing sync.Mutex
	file    *os.File // guarded by writing
	size    int64    // guarded by writing; everything before it is synced
	torn    bool     // guarded by writing; behind size there may be what a failed write has left

	mu sync.RWMutex

	fingerprints [][keySize]byte // only ever gets longer

	broken   error // the file is not the one that was read, or closed
	subjects map[subjectHash]*subject
	current  map[string]*Key // last generation of recent subjects, at most maxCached
}

// openTenant reads the key file at path.
func openTenant(name, path string, kek [keySize]byte, fingerprints [][keySize]byte) (*tenant, error) {
	wrap, err := newGCM(kek[:])
	if err != nil {
		return nil, err
	}
	hashKey, err := hkdf.Key(sha256.New, kek[:], nil, subjectDomain, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive subject key: %w", err)
	}
	t := &tenant{
		name: name, path: path, wrap: wrap, hashKey: hashKey, fingerprints: fingerprints,
		subjects: map[subjectHash]*subject{}, current: map[string]*Key{},
	}
	if t.file, err = openKeyFile(path); err != nil {
		return nil, err
	}
	if err := t.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("load %s: %w", path, err), t.file.Close())
	}
	return t, nil
}

// rotateFingerprint appends a fingerprint key to the file at path.
func (t *tenant) rotateFingerprint(path string) (number uint32, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if len(t.fingerprints) == MaxFingerprintKeys {
		return 0, fmt.Errorf("%s has %d already, the limit", t.name, MaxFingerprintKeys)
	}
	secret, _ := newSecret(fingerprintLabel)
	all := append(slices.Clip(t.fingerprints), secret)
	var file []byte
	for _, s := range all {
		file = append(file, encodeSecret(fingerprintLabel, s)...)
	}
	if err := keyfile.Replace(path, file); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fingerprints = all
	return uint32(len(all)), nil
}

func openKeyFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, keyfile.Mode)
	if err != nil {
		return nil, fmt.Errorf("open data keys: %w", err)
	}
	if err := keyfile.CheckMode(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// load reads every record and cuts off an unfinished frame, whose keys were
// never handed out.
func (t *tenant) load() error {
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if t.size, err = readFrames(t.file, info.Size(), t.apply); err != nil {
		return err
	}
	if t.size == info.Size() {
		return nil
	}
	if err := errors.Join(t.file.Truncate(t.size), t.file.Sync()); err != nil {
		return fmt.Errorf("cut off unfinished frame: %w", err)
	}
	return nil
}

// apply takes one record of the file. Generations of a subject only grow.
func (t *tenant) apply(r record) error {
	s := t.subject(r.subject)
	if r.generation <= s.last() {
		return fmt.Errorf("generation %d after %d: %w", r.generation, s.last(), ErrCorrupt)
	}
	if r.kind == recordErased {
		s.erase(r.generation)
	} else {
		s.keys = append(s.keys, r.wrapped)
	}
	return nil
}

func (t *tenant) subject(hash subjectHash) *subject {
	s, ok := t.subjects[hash]
	if !ok {
		s = &subject{hash: hash}
		t.subjects[hash] = s
	}
	return s
}

// last is the highest generation that ever was.
func (s *subject) last() uint32 {
	if n := len(s.keys); n > 0 {
		return s.keys[n-1].generation
	}
	return s.erased.Load()
}

// erase forgets the keys up to a generation.
func (s *subject) erase(generation uint32) {
	kept := slices.Clone(s.after(generation))
	clear(s.keys)
	s.keys = kept
	s.erased.Store(generation)
}

// after are the keys of later generations.
func (s *subject) after(generation uint32) []wrapped {
	at := slices.IndexFunc(s.keys, func(w wrapped) bool { return w.generation > generation })
	if at < 0 {
		return nil
	}
	return s.keys[at:]
}

func (t *tenant) hash(name string) (h subjectHash) {
	mac := hmac.New(sha256.New, t.hashKey)
	mac.Write([]byte(name))
	mac.Sum(h[:0])
	return h
}

// cached returns the keys of all names if none of them needs work.
func (t *tenant) cached(names []string) ([]*Key, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.broken != nil {
		return nil, false
	}
	keys := make([]*Key, len(names))
	for i, name := range names {
		k, ok := t.current[name]
		if !ok || k.worn() {
			return nil, false
		}
		keys[i] = k
	}
	return keys, true
}

func (k *Key) worn() bool { return k.owner.seals.Load() >= RotateAfter }

// ensure returns a durable key for each name, making those that are missing.
func (t *tenant) ensure(names []string) ([]*Key, error) {
	if keys, ok := t.cached(names); ok {
		return keys, nil
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.ready(); err != nil {
		return nil, err
	}
	made, err := t.makeMissing(names)
	if err != nil {
		return nil, err
	}
	if err := t.commit(made); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish(made)
	return t.findAll(names)
}

// ready says why nothing can be written. What a write or sync that failed may have left, for example on a full disk,
// is cut off first: none of its keys was handed out. t.writing is held.
func (t *tenant) ready() error {
	if t.broken != nil || !t.torn {
		return t.broken
	}
	if err := errors.Join(t.file.Truncate(t.size), t.file.Sync()); err != nil {
		return fmt.Errorf("cut off unfinished frame: %w", err)
	}
	t.torn = false
	return nil
}

// fresh is a data key that is not visible yet. t.writing is held.
type fresh struct {
	name   string
	key    *Key
	record record
}

// makeMissing makes a new generation for each name that has no key or a worn
// one. Nothing is written yet.
func (t *tenant) makeMissing(names []string) ([]fresh, error) {
	var made []fresh
	seen := map[string]bool{}
	for _, name := range names {
		owner := t.owner(name)
		if seen[name] || len(owner.keys) > 0 && owner.seals.Load() < RotateAfter {
			continue
		}
		seen[name] = true
		f, err := t.makeKey(name, owner)
		if err != nil {
			return nil, err
		}
		made = append(made, f)
	}
	return made, nil
}

// owner returns the subject of that name, or one that joins t.subjects when it
// has a durable key.
func (t *tenant) owner(name string) *subject {
	hash := t.hash(name)
	if s, ok := t.subjects[hash]; ok {
		return s
	}
	return &subject{hash: hash}
}

func (t *tenant) makeKey(name string, owner *subject) (fresh, error) {
	r := record{kind: recordKey, subject: owner.hash, wrapped: wrapped{generation: owner.last() + 1}}
	material := make([]byte, keySize)
	defer clear(material)
	rand.Read(material)   // never fails
	rand.Read(r.nonce[:]) // never fails
	t.wrap.Seal(r.box[:0], r.nonce[:], material, t.wrapAAD(owner.hash, r.generation))
	key, err := newKey(owner, r.generation, material)
	return fresh{name, key, r}, err
}

// wrapAAD binds a wrapped key to its place.
func (t *tenant) wrapAAD(hash subjectHash, generation uint32) []byte {
	b := append([]byte(wrapDomain), t.name...)
	b = append(append(b, 0), hash[:]...)
	return binary.BigEndian.AppendUint32(b, generation)
}

// commit makes keys durable, one frame for each sync: all of them, or none. A crash before a sync leaves an
// unfinished frame, of which no key was handed out.
func (t *tenant) commit(made []fresh) error {
	before := t.size
	for part := range slices.Chunk(made, maxFrame) {
		if err := t.writeFrame(part); err != nil {
			t.size, t.torn = before, true
			return err
		}
	}
	return nil
}

func (t *tenant) writeFrame(part []fresh) error {
	records := make([]record, len(part))
	for i := range part {
		records[i] = part[i].record
	}
	frame := appendFrame(nil, records)
	if _, err := t.file.WriteAt(frame, t.size); err != nil {
		return fmt.Errorf("write data keys: %w", err)
	}
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("sync data keys: %w", err)
	}
	t.size += int64(len(frame))
	return nil
}

// fail closes the tenant to new keys until it is opened again: nobody knows what its file holds.
func (t *tenant) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = err
	return err
}

// publish makes durable keys visible. Both locks are held.
func (t *tenant) publish(made []fresh) {
	for _, f := range made {
		s := f.key.owner
		t.subjects[s.hash] = s
		s.keys = append(s.keys, f.record.wrapped)
		s.seals.Store(0)
		t.cache(f.name, f.key)
	}
}

// findAll returns the current keys of subjects that have one. Both locks are
// held.
func (t *tenant) findAll(names []string) ([]*Key, error) {
	keys := make([]*Key, len(names))
	for i, name := range names {
		k, err := t.find(name)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	return keys, nil
}

// cache keeps k as the current key of name; beyond maxCached some other key
// has to be unwrapped again when it is next wanted.
func (t *tenant) cache(name string, k *Key) {
	for other := range t.current {
		if len(t.current) < maxCached {
			break
		}
		delete(t.current, other)
	}
	t.current[name] = k
}

func (t *tenant) find(name string) (*Key, error) {
	if k, ok := t.current[name]; ok {
		return k, nil
	}
	s := t.subjects[t.hash(name)]
	k, err := t.unwrap(s, s.keys[len(s.keys)-1])
	if err != nil {
		return nil, err
	}
	t.cache(name, k)
	return k, nil
}

func (t *tenant) unwrap(s *subject, w wrapped) (*Key, error) {
	material, err := t.wrap.Open(nil, w.nonce[:], w.box[:], t.wrapAAD(s.hash, w.generation))
	if err != nil {
		return nil, fmt.Errorf("unwrap data key of generation %d: %w", w.generation, ErrCorrupt)
	}
	defer clear(material)
	return newKey(s, w.generation, material)
}

// get returns the key of one generation.
func (t *tenant) get(name string, generation uint32) (*Key, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if k, ok := t.current[name]; ok && k.generation == generation {
		return k, nil
	}
	s, ok := t.subjects[t.hash(name)]
	if !ok {
		return nil, ErrUnknownKey
	}
	if generation <= s.erased.Load() {
		return nil, ErrErased
	}
	for _, w := range s.keys {
		if w.generation == generation {
			return t.unwrap(s, w)
		}
	}
	return nil, ErrUnknownKey
}

func (t *tenant) isErased(name string, generation uint32) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s, ok := t.subjects[t.hash(name)]
	return ok && generation <= s.erased.Load()
}

// rewriteWithout replaces the file by one in which s is erased up to last.
func (t *tenant) rewriteWithout(s *subject, last uint32) error {
	err := keyfile.ReplaceFunc(t.path, func(w io.Writer) error {
		return writeFile(w, t.recordsWithout(s, last))
	})
	if err != nil {
		return t.failedRewrite(err)
	}
	next, err := openKeyFile(t.path)
	if err != nil {
		return t.failedRewrite(err)
	}
	info, err := next.Stat()
	if err != nil {
		return t.failedRewrite(errors.Join(err, next.Close()))
	}
	old, oldSize := t.file, t.size
	t.file, t.size = next, info.Size()
	overwrite(old, oldSize)
	return nil
}

// failedRewrite keeps the tenant usable only if its file is the old one still.
func (t *tenant) failedRewrite(cause error) error {
	err := fmt.Errorf("rewrite data keys: %w", cause)
	old, errOld := t.file.Stat()
	now, errNow := os.Stat(t.path)
	if errOld != nil || errNow != nil || !os.SameFile(old, now) {
		return t.fail(err)
	}
	return err
}

// overwrite blanks a file that no longer has a name. It is a second line of
// defence on media that write in place; that the file is gone does not depend
// on it, so its errors have no consequence.
func overwrite(f *os.File, size int64) {
	zeros := make([]byte, 1<<16)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			break
		}
	}
	_ = errors.Join(f.Sync(), f.Close())
}

// recordsWithout yields the file's records as they are after s is erased.
func (t *tenant) recordsWithout(s *subject, last uint32) func(yield func(record) bool) {
	return func(yield func(record) bool) {
		for _, other := range t.subjects {
			erased, keys := other.erased.Load(), other.keys
			if other == s {
				erased, keys = last, s.after(last)
			}
			if !yieldSubject(other.hash, erased, keys, yield) {
				return
			}
		}
		if _, known := t.subjects[s.hash]; !known {
			yieldSubject(s.hash, last, nil, yield)
		}
	}
}

func yieldSubject(hash subjectHash, erased uint32, keys []wrapped, yield func(record) bool) bool {
	if erased > 0 && !yield(record{kind: recordErased, subject: hash, wrapped: wrapped{generation: erased}}) {
		return false
	}
	for _, w := range keys {
		if !yield(record{kind: recordKey, subject: hash, wrapped: w}) {
			return false
		}
	}
	return true
}

func (t *tenant) close() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = ErrClosed
	}
	return t.file.Close()
}
