package ingest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Limits of join tokens.
const (
	// DefaultTokenTTL is how long a token may wait: the time it takes to walk to another machine.
	DefaultTokenTTL = time.Hour
	// MaxTokenTTL bounds it: a token that lies around for a month is a key that nobody watches.
	MaxTokenTTL = 7 * 24 * time.Hour
	// maxToken is the longest text that is looked up as a token, in bytes.
	maxToken = 256
	// maxTokenFile is the largest file of a token, in bytes: two names and a number.
	maxTokenFile = 4 << 10
)

const (
	// tokenPrefix begins every token, so that a person and a secret scanner can tell what it is.
	tokenPrefix = "custody-join_"
	// tokenSuffix ends the file names of tokens that can be used.
	tokenSuffix = ".json"
)

// ErrToken says that a join token is unknown, used or expired. Which of the three is not told.
var ErrToken = errors.New("join token is unknown, used or expired")

// Enrolment is what a join token allows: one key of one class for one instance.
type Enrolment struct {
	Tenant    string                `json:"tenant"`
	Instance  string                `json:"instance"`
	Producer  eventv1.ProducerClass `json:"producer"`
	ExpiresAt int64                 `json:"expires_at"` // ns since the Unix epoch
	CreatedBy string                `json:"created_by"` // name of the person
}

// Tokens keeps join tokens in a folder: one file each, named by the SHA-256 of the token, mode 0600. The
// token itself is kept nowhere. Taking a token removes its file durably before it counts, so no crash and
// no second process lets it be used twice. It is safe for concurrent use, also by several processes.
type Tokens struct {
	dir string
	now func() time.Time
}

// OpenTokens makes the folder, 0700, and removes what has expired.
func OpenTokens(dir string, now func() time.Time) (*Tokens, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open join tokens: %w", err)
	}
	t := &Tokens{dir: dir, now: now}
	return t, t.Sweep()
}

// Create makes a token and returns it once it is durable: prefix, tenant, instance, producer class and 32
// random bytes in hexadecimal, with "_" between them. The emitter needs the names to sign its enrolment.
func (t *Tokens) Create(e Enrolment) (token string, err error) {
	var secret [32]byte
	if _, err := io.ReadFull(rand.Reader, secret[:]); err != nil {
		return "", fmt.Errorf("create join token: %w", err)
	}
	token = tokenPrefix + strings.Join([]string{e.Tenant, e.Instance, event.Producers.Name(e.Producer), hex.EncodeToString(secret[:])}, "_")
	content, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("create join token: %w", err)
	}
	if err := t.write(t.path(token), content); err != nil {
		return "", fmt.Errorf("create join token: %w", err)
	}
	return token, nil
}

// Look returns what a token allows and leaves it as it is. The error is ErrToken.
func (t *Tokens) Look(token string) (Enrolment, error) {
	if len(token) > maxToken || !strings.HasPrefix(token, tokenPrefix) {
		return Enrolment{}, fmt.Errorf("read join token: %w", ErrToken)
	}
	e, err := t.read(t.path(token))
	if errors.Is(err, fs.ErrNotExist) || err == nil && t.now().UnixNano() >= e.ExpiresAt {
		err = ErrToken
	}
	if err != nil {
		return Enrolment{}, fmt.Errorf("read join token: %w", err)
	}
	return e, nil
}

// Take uses a token up: of any number of callers one gets the enrolment, the others ErrToken.
func (t *Tokens) Take(token string) (Enrolment, error) {
	e, err := t.Look(token)
	if err != nil {
		return Enrolment{}, err
	}
	return e, t.spend(t.path(token))
}

// spend removes a token's file. Of several that try, the system lets one succeed.
func (t *Tokens) spend(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrToken
	}
	if err == nil {
		err = syncDir(t.dir)
	}
	if err != nil {
		return fmt.Errorf("take join token: %w", err)
	}
	return nil
}

// Sweep removes tokens that have expired, and what a crash left half written.
func (t *Tokens) Sweep() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("sweep join tokens: %w", err)
	}
	for _, entry := range entries {
		if err := t.sweepFile(entry); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep join tokens: %w", err)
		}
	}
	return nil
}

func (t *Tokens) sweepFile(entry os.DirEntry) error {
	path := filepath.Join(t.dir, entry.Name())
	if !strings.HasSuffix(path, tokenSuffix) {
		info, err := entry.Info()
		if err != nil || t.now().Sub(info.ModTime()) < time.Minute { // another process may be writing it
			return err
		}
		return os.Remove(path)
	}
	e, err := t.read(path)
	if err != nil || t.now().UnixNano() < e.ExpiresAt {
		return err
	}
	return os.Remove(path)
}

func (t *Tokens) path(token string) string {
	sum := tokenHash(token)
	return filepath.Join(t.dir, hex.EncodeToString(sum[:])+tokenSuffix)
}

// tokenHash is what is kept of a token, and what the key's proof is over.
func tokenHash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func (t *Tokens) read(path string) (e Enrolment, err error) {
	file, err := os.Open(path)
	if err != nil {
		return Enrolment{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return Enrolment{}, err
	}
	if err := json.Unmarshal(content, &e); err != nil {
		return Enrolment{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return e, nil
}

// write makes a file durable under its name: written and synced beside it, renamed, the folder synced.
func (t *Tokens) write(path string, content []byte) error {
	file, err := os.CreateTemp(t.dir, "new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(t.dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LogValue names what may be enrolled.
func (e Enrolment) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tenant", e.Tenant), slog.String("instance", e.Instance), slog.String("producer", e.Producer.String()))
}
