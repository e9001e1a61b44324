package node

import (
	"fmt"
	"net/http"
)

// HTTPClient returns a client for the logs that a node serves over HTTPS, with the person's certificate. Its server is one of the
// authority whose certificate the folder has.
func (cfg DialConfig) HTTPClient() (*http.Client, error) {
	config, err := cfg.credentials()
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: handshakePatience}, Timeout: logPatience}, nil
}
