package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// maxAttempts is how often one checkpoint is offered: the first may start from a size that the witness has left behind.
const maxAttempts = 3

// ErrRolledBack says that the witness has cosigned more leaves than the log has now: the log was rolled back, or somebody else signs
// in its name.
var ErrRolledBack = errors.New("the witness has cosigned a larger log than this")

// Client asks one witness. It may be used from many goroutines; for one log, one after the other.
type Client struct {
	Witness signer.Witness
	HTTP    *http.Client // nil is http.DefaultClient

	mu    sync.Mutex
	sizes map[string]chain.Index // cosigned last, by origin; a guess after a start
}

// Prove returns the consistency proof from a size to the checkpoint that is offered.
type Prove func(ctx context.Context, from chain.Index) ([]chain.Hash, error)

// Cosign offers a signed checkpoint and returns the witness's answer, which the caller verifies. ErrFork, ErrRolledBack and
// ErrInconsistent mean that the log has, or seems to have, two histories: a person must look. ErrUnknownLog and ErrLogSignature mean
// that the witness was not told of this log. Any other error means: try again later.
func (c *Client) Cosign(ctx context.Context, head chain.Checkpoint, note []byte, prove Prove) ([]byte, error) {
	from := min(c.size(head.Origin), head.Size)
	for range maxAttempts {
		lines, err := c.offer(ctx, from, head, note, prove)
		var stale *StaleError
		switch {
		case err == nil:
			c.learn(head.Origin, head.Size)
			return lines, nil
		case !errors.As(err, &stale):
			return nil, fmt.Errorf("ask witness %s: %w", c.Witness.Name, err)
		case stale.Size > head.Size:
			return nil, fmt.Errorf("ask witness %s: %w: %d leaves, not %d", c.Witness.Name, ErrRolledBack, stale.Size, head.Size)
		case stale.Size == from:
			return nil, fmt.Errorf("ask witness %s: %w", c.Witness.Name, ErrFork)
		}
		from = stale.Size
		c.learn(head.Origin, from)
	}
	return nil, fmt.Errorf("ask witness %s: its last checkpoint moves under us", c.Witness.Name)
}

func (c *Client) size(origin string) chain.Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sizes[origin]
}

func (c *Client) learn(origin string, size chain.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sizes == nil {
		c.sizes = map[string]chain.Index{}
	}
	c.sizes[origin] = size
}

func (c *Client) offer(ctx context.Context, from chain.Index, head chain.Checkpoint, note []byte, prove Prove) ([]byte, error) {
	r := Request{Old: from, Checkpoint: note}
	if from > 0 && from < head.Size {
		var err error
		if r.Proof, err = prove(ctx, from); err != nil {
			return nil, err
		}
	}
	url := strings.TrimSuffix(c.Witness.URL, "/") + "/add-checkpoint"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(r.Marshal()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return c.send(request)
}

func (c *Client) send(request *http.Request) ([]byte, error) {
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read, or is not wanted
	body, err := io.ReadAll(io.LimitReader(response.Body, maxNote+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case len(body) > maxNote:
		return nil, fmt.Errorf("answer of more than %d bytes", maxNote)
	}
	return answer(response, body)
}

// answer reads what a witness says.
func answer(response *http.Response, body []byte) ([]byte, error) {
	switch response.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusNotFound:
		return nil, ErrUnknownLog
	case http.StatusForbidden:
		return nil, ErrLogSignature
	case http.StatusUnprocessableEntity:
		return nil, ErrInconsistent
	case http.StatusConflict:
		if size, ok := sizeOf(response.Header.Get("Content-Type"), body); ok {
			return nil, &StaleError{size}
		}
		return nil, ErrFork
	}
	return nil, fmt.Errorf("answers %s", response.Status)
}

// sizeOf reads the body of a conflict that names a size.
func sizeOf(contentType string, body []byte) (chain.Index, bool) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != typeSize {
		return 0, false
	}
	text := strings.TrimSuffix(string(body), "\n")
	size, err := strconv.ParseUint(text, 10, 63)
	return chain.Index(size), err == nil && strconv.FormatUint(size, 10) == text
}
