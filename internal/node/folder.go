package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/signer/ca"
)

// adminName is the person of the first start.
const adminName = "admin"

// ErrInUse says that another process serves the data folder.
var ErrInUse = errors.New("another process serves this data folder")

// folder is a data folder.
type folder string

func (f folder) path(parts ...string) string {
	return filepath.Join(append([]string{string(f)}, parts...)...)
}

func (f folder) key(name string) string { return f.path("keys", name) }
func (f folder) authority() string      { return f.path("keys", "ca") }
func (f folder) socket() string         { return f.path("custody.sock") }

// person is the name of a file of a person in people/.
func (f folder) person(name, suffix string) string { return f.path("people", name+suffix) }

// lock keeps a second process out until the file is closed; the system also frees it when the process dies.
func (f folder) lock() (*os.File, error) {
	for _, dir := range []string{f.path(), f.path("keys"), f.path("people")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make data folder: %w", err)
		}
	}
	file, err := os.OpenFile(f.path("serve.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s%s", ErrInUse, f, f.holder())
	}
	if err == nil {
		err = errors.Join(file.Truncate(0), writeAll(file, fmt.Sprintln(os.Getpid())))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// holder says which process holds the lock, if it has said so.
func (f folder) holder() string {
	text, err := os.ReadFile(f.path("serve.lock"))
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

func writeAll(file *os.File, text string) error {
	_, err := file.WriteString(text)
	return err
}

// keepPerson writes a person's certificate and key, durably.
func (f folder) keepPerson(name string, client ca.Client, authority []byte) error {
	files := map[string][]byte{
		f.person(name, ".crt"): client.CertPEM, f.person(name, ".key"): client.KeyPEM, f.person("ca", ".crt"): authority,
	}
	for path, content := range files {
		if err := replaceFile(path, content); err != nil {
			return fmt.Errorf("write certificate: %w", err)
		}
	}
	return nil
}

// replaceFile makes a file of mode 0600 durable, in one step.
func replaceFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// choices are what a start chose, for the next start and for people.
type choices struct {
	Address string `json:"address"` // where emitters connect
	Domain  string `json:"domain"`
}

// load reads the choices of the start before; none are no error.
func (f folder) load() (c choices, err error) {
	text, err := os.ReadFile(f.path("custody.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return choices{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return choices{}, fmt.Errorf("read custody.json: %w", err)
	}
	return c, nil
}

func (f folder) save(c choices) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = replaceFile(f.path("custody.json"), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write custody.json: %w", err)
	}
	return nil
}
