package tsa

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"

	"github.com/agentcustody/custody/signer/timestamp"
)

// Media types of RFC 3161 section 3.4.
const (
	typeQuery = "application/timestamp-query"
	typeReply = "application/timestamp-reply"
)

// ErrNonce says that an answer does not belong to its request.
var ErrNonce = errors.New("answer belongs to another request")

// Client asks one authority.
type Client struct {
	URL  string
	HTTP *http.Client // nil is http.DefaultClient
}

// nonceBits is the size of a request's nonce.
const nonceBits = 64

// Stamp returns the authority's response over a message, as DER. It is of this message, belongs to this request and is signed by the
// certificate inside; whether that is trusted is for whoever verifies.
func (c *Client) Stamp(ctx context.Context, message []byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), nonceBits))
	if err != nil {
		return nil, fmt.Errorf("ask for a time stamp: %w", err)
	}
	query, err := timestamp.NewRequest(message, nonce)
	if err != nil {
		return nil, err
	}
	der, err := c.post(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("ask for a time stamp: %w", err)
	}
	stamp, err := timestamp.Parse(der)
	if err == nil {
		err = stamp.Of(message)
	}
	if err == nil && (stamp.Nonce == nil || stamp.Nonce.Cmp(nonce) != 0) {
		err = ErrNonce
	}
	if err != nil {
		return nil, fmt.Errorf("ask for a time stamp: %w", err)
	}
	return der, nil
}

func (c *Client) post(ctx context.Context, query []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", typeQuery)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read, or is not wanted
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answers %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, timestamp.MaxResponse+1))
}
