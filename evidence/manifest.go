package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
)

// ErrManifest says that the files are not those that the manifest lists.
var ErrManifest = errors.New("files differ from the list")

// manifest is manifest.json.
type manifest struct {
	Version int            `json:"version"` // 1
	Files   []manifestFile `json:"files"`   // all but the manifest and the statement about it, in the order of the container
	Claims  Disclosure     `json:"claims"`  // what the exporter says is inside; counted again by the verifier
}

type manifestFile struct {
	Path      string     `json:"path"`
	Size      uint64     `json:"size"` // bytes
	SHA256    chain.Hash `json:"sha256"`
	MediaType string     `json:"media_type"`
}

// Disclosure counts what a bundle has of the records in its range.
type Disclosure struct {
	Records         uint64 `json:"records"`           // in the range
	Clear           uint64 `json:"clear"`             // with their whole plain content
	Held            uint64 `json:"held"`              // kept closed because they hold a secret
	Withheld        uint64 `json:"withheld"`          // left out by the exporter
	Expired         uint64 `json:"expired"`           // no longer kept
	Outside         uint64 `json:"outside,omitempty"` // of others than the scope names: only their leaves are here
	FieldsDisclosed uint64 `json:"fields_disclosed"`  // sealed fields of the clear records, with their content
	FieldsWithheld  uint64 `json:"fields_withheld"`   // without, and why
	FieldsErased    uint64 `json:"fields_erased"`     // whose key is destroyed
}

// unlisted counts the records of the scope whose plain content is not here, so that no list and no control knows of them.
func (d *Disclosure) unlisted() uint64 { return d.Held + d.Withheld + d.Expired }

func makeManifest(files []*staged, claims Disclosure) ([]byte, error) {
	m := manifest{Version: 1, Claims: claims}
	for i, l := range layout {
		if l.listed {
			m.Files = append(m.Files, manifestFile{l.name, files[i].size, files[i].digest(), l.mediaType})
		}
	}
	return marshalJSON(m)
}

// checkManifest holds the manifest to the container: the same files with the same sizes, types, hashes and checksums. The
// errors are ErrJSON, ErrManifest, ErrContainer and those of the file.
func checkManifest(c *container, b []byte) (*manifest, error) {
	m, err := checkList(c, b)
	if err != nil {
		return nil, err
	}
	return m, checkContents(c, m)
}

// checkList is checkManifest without hashes and checksums.
func checkList(c *container, b []byte) (*manifest, error) {
	m := new(manifest)
	if err := unmarshalJSON(b, m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("manifest version %d: %w", m.Version, ErrManifest)
	}
	files := m.Files
	for i, l := range layout {
		if !l.listed {
			continue
		}
		if len(files) == 0 || files[0].Path != l.name || files[0].Size != c.entries[i].size || files[0].MediaType != l.mediaType {
			return nil, fmt.Errorf("%s: not listed as it is: %w", l.name, ErrManifest)
		}
		files = files[1:]
	}
	if len(files) > 0 {
		return nil, fmt.Errorf("more files listed than there are: %w", ErrManifest)
	}
	return m, nil
}

// digest is that of a file that is listed, otherwise zeros.
func (m *manifest) digest(path string) chain.Hash {
	for i := range m.Files {
		if m.Files[i].Path == path {
			return m.Files[i].SHA256
		}
	}
	return chain.Hash{}
}

// checkContents hashes every file but those that are left to others, several at a time.
func checkContents(c *container, m *manifest, others ...string) error {
	want := make(map[string]chain.Hash, len(m.Files))
	for _, f := range m.Files {
		want[f.Path] = f.SHA256
	}
	var g errgroup.Group
	for i := range c.entries {
		e := &c.entries[i]
		if slices.Contains(others, e.name) {
			continue
		}
		g.Go(func() error {
			digest, crc, err := sumFile(c.open(e.name))
			sum, listed := want[e.name]
			switch {
			case err != nil:
				return fmt.Errorf("read %s: %w", e.name, err)
			case listed && digest != sum:
				return fmt.Errorf("%s: SHA-256 is %s: %w", e.name, digest, ErrManifest)
			case crc != e.crc:
				return fmt.Errorf("%s: wrong checksum: %w", e.name, ErrContainer)
			}
			return nil
		})
	}
	return g.Wait()
}

func sumFile(r *io.SectionReader) (digest chain.Hash, crc uint32, err error) {
	sum, check := sha256.New(), crc32.New(crcTable)
	if _, err = io.CopyBuffer(io.MultiWriter(sum, check), struct{ io.Reader }{r}, make([]byte, bufferFor(r))); err != nil {
		return digest, 0, err
	}
	return chain.Hash(sum.Sum(nil)), check.Sum32(), nil
}

func sha256Of(b []byte) chain.Hash { return sha256.Sum256(b) }
