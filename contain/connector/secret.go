package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/agentcustody/custody/contain"
)

// maxFile bounds the file of connectors and each file of a secret, in bytes.
const maxFile = 1 << 20

// errOpen says that others than its owner can read a secret.
var errOpen = errors.New("can be read by others: chmod go= it")

// secret is a file that holds one. It is read at each call, and only if nobody but its owner can read it.
type secret string

// bytes are the file's content. Whatever fails, nothing was sent.
func (s secret) bytes() ([]byte, error) {
	f, err := os.Open(string(s))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !private(info.Mode()) {
		err = fmt.Errorf("%s %w", s, errOpen)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	return text, nil
}

// text is the content without the line's end.
func (s secret) text() (string, error) {
	b, err := s.bytes()
	return string(bytes.TrimSpace(b)), err
}

// login is the content as "NAME:PASSWORD"; the password may hold colons.
func (s secret) login() (name, password string, err error) {
	text, err := s.text()
	if err != nil {
		return "", "", err
	}
	name, password, ok := strings.Cut(text, ":")
	if !ok || name == "" || password == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", "", fmt.Errorf("%w: %s is not one line NAME:PASSWORD", contain.ErrNotSent, s)
	}
	return name, password, nil
}

// readFile reads a small file that is no secret.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
