package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/signer"
)

// nobody stands for a file or an address: from now on nobody is asked.
const nobody = "none"

// confirmFlags say who confirms checkpoints.
type confirmFlags struct {
	witnesses, timestamp, roots string
	every                       time.Duration
}

func (f *confirmFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.witnesses, "witnesses", "", "file of a C2SP tlog-policy: witnesses to ask, with URLs, and the quorum; none asks nobody; as the last time if absent")
	fl.StringVar(&f.timestamp, "timestamp", "", "URL of an RFC 3161 authority; local is one of this server's own, not qualified; none asks nobody; as the last time if absent")
	fl.StringVar(&f.roots, "timestamp-roots", "", "PEM file of the certificates to which its time stamps must lead, for policies")
	fl.DurationVar(&f.every, "confirm-every", 0, "how often they are asked at most while a log grows; 1m if never given")
}

// confirmers is what the flags change of what the last start was told; nil if they change nothing.
func (f *confirmFlags) confirmers(dataDir string) (*node.Confirmers, error) {
	if *f == (confirmFlags{}) {
		return nil, nil
	}
	c, err := node.LoadConfirmers(dataDir)
	if err != nil {
		return nil, err
	}
	if err := f.readWitnesses(&c); err != nil {
		return nil, err
	}
	if err := f.readTimestamps(&c); err != nil {
		return nil, err
	}
	if f.every != 0 {
		c.Every = f.every.String()
	}
	return &c, nil
}

func (f *confirmFlags) readWitnesses(c *node.Confirmers) error {
	switch f.witnesses {
	case "":
		return nil
	case nobody:
		c.Witnesses = nil
		return nil
	}
	text, err := os.ReadFile(f.witnesses)
	if err != nil {
		return fmt.Errorf("read witnesses: %w", err)
	}
	quorum, err := signer.ParseQuorum(text)
	if err != nil {
		return inputError(fmt.Errorf("read witnesses: %s: %w", f.witnesses, err), "see https://c2sp.org/tlog-policy")
	}
	c.Witnesses = quorum.Lines(true)
	return nil
}

func (f *confirmFlags) readTimestamps(c *node.Confirmers) error {
	if f.timestamp != "" {
		c.TimestampURL, c.TimestampRoots = f.timestamp, nil
	}
	if f.timestamp == nobody {
		c.TimestampURL = ""
	}
	if f.roots == "" {
		return nil
	}
	text, err := os.ReadFile(f.roots)
	if err != nil {
		return fmt.Errorf("read time-stamp roots: %w", err)
	}
	c.TimestampRoots = nil
	for len(bytes.TrimSpace(text)) > 0 {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil || block.Type != "CERTIFICATE" {
			return inputError(fmt.Errorf("read time-stamp roots: %s: not certificates in PEM", f.roots), "ask the authority for its certificates")
		}
		c.TimestampRoots = append(c.TimestampRoots, block.Bytes)
	}
	return nil
}
