package evidence

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"

	"github.com/agentcustody/custody/chain"
)

// The files that hold nearly all of a bundle are read once: the walk reads them from the beginning to the end, they are hashed as they are
// read, and what is hashed is what is examined. Whether they are the files that the manifest lists is known only after that. If they
// are not, nothing that was found counts, and the bundle is verified once more, hashes first.

// onceFiles are those files.
var onceFiles = []string{fileLeaves, fileBatches, fileEvents, fileOpenings}

// errContents says that one of them is not the file that the manifest lists.
var errContents = errors.New("not the file that is listed")

// once is one of them.
type once struct {
	from io.Reader
	sum  hash.Hash
	crc  uint32
	r    *bufio.Reader // of this
}

// Read implements io.Reader.
func (o *once) Read(b []byte) (n int, err error) {
	n, err = o.from.Read(b)
	o.sum.Write(b[:n])
	o.crc = crc32.Update(o.crc, crcTable, b[:n])
	return n, err
}

// once returns the one reader of a file. It is not safe for concurrent use.
func (c *container) once(name string) *once {
	if c.begun == nil {
		c.begun = map[string]*once{}
	}
	o := c.begun[name]
	if o == nil {
		f := c.open(name)
		o = &once{from: f, sum: sha256.New()}
		o.r = bufio.NewReaderSize(o, bufferFor(f))
		c.begun[name] = o
	}
	return o
}

// rest reads what nobody has read, and returns the digest and the checksum of the whole.
func (o *once) rest() (chain.Hash, uint32, error) {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{o}, make([]byte, o.r.Size()))
	return chain.Hash(o.sum.Sum(nil)), o.crc, err
}

// checkOnce holds the files that were read once to the manifest. The errors are errContents and those of the file.
func (c *container) checkOnce(m *manifest) error {
	for i := range c.entries {
		e := &c.entries[i]
		if !slices.Contains(onceFiles, e.name) {
			continue
		}
		digest, crc, err := c.once(e.name).rest()
		if err != nil {
			return fmt.Errorf("read %s: %w", e.name, err)
		}
		if digest != m.digest(e.name) || crc != e.crc {
			return fmt.Errorf("%s: %w", e.name, errContents)
		}
	}
	return nil
}
