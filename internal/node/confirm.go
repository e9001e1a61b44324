package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp/tsa"
)

// TimestampLocal stands for a URL: the node stamps by itself, with an authority of its own that is not qualified.
const TimestampLocal = "local"

// Confirmers say who confirms checkpoints. They are kept in confirm.json in the data folder, so that every later start asks the same and
// every policy names them. They hold no secret.
type Confirmers struct {
	Witnesses      []string `json:"witnesses,omitempty"`       // lines of a C2SP tlog-policy, each witness with its URL: signer.Quorum.Lines
	TimestampURL   string   `json:"timestamp_url,omitempty"`   // of an RFC 3161 authority, or TimestampLocal; empty is none
	TimestampRoots [][]byte `json:"timestamp_roots,omitempty"` // certificates, DER, that policies pin; made for TimestampLocal
	Every          string   `json:"every,omitempty"`           // how often a growing log is confirmed at most; empty is the default
}

// ErrConfirmers says that nobody can be asked as it is written.
var ErrConfirmers = errors.New("cannot ask those who confirm checkpoints")

// LoadConfirmers reads what the last start was told; none is no error.
func LoadConfirmers(dataDir string) (c Confirmers, err error) {
	text, err := os.ReadFile(folder(dataDir).path(confirmFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Confirmers{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return Confirmers{}, fmt.Errorf("read %s: %w", confirmFile, err)
	}
	return c, nil
}

const confirmFile = "confirm.json"

// stampPatience is how long an export waits for its time stamp.
const stampPatience = 10 * time.Second

// minConfirmEvery keeps a node from wearing out those who do it a favour.
const minConfirmEvery = time.Second

// confirm is who confirms checkpoints, ready to be asked.
type confirm struct {
	Confirmers
	quorum *signer.Quorum // nil if nobody is named
	stamp  func(ctx context.Context, message []byte) ([]byte, error)
	every  time.Duration
}

// openConfirm reads or writes down who confirms checkpoints.
func (n *Node) openConfirm(context.Context) (err error) {
	if n.cfg.Confirm != nil {
		n.confirm.Confirmers = *n.cfg.Confirm
	} else if n.confirm.Confirmers, err = LoadConfirmers(n.cfg.DataDir); err != nil {
		return err
	}
	for _, step := range []func() error{n.openWitnesses, n.openStamps, n.openEvery} {
		if err := step(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfirmers, err)
		}
	}
	if n.cfg.Confirm == nil {
		return nil
	}
	text, err := json.MarshalIndent(n.confirm.Confirmers, "", "  ")
	if err == nil {
		err = replaceFile(n.folder.path(confirmFile), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", confirmFile, err)
	}
	return nil
}

func (n *Node) openWitnesses() error {
	if len(n.confirm.Witnesses) == 0 {
		return nil
	}
	quorum, err := signer.ParseQuorum([]byte(strings.Join(n.confirm.Witnesses, "\n") + "\n"))
	if err != nil {
		return err
	}
	for _, w := range quorum.Witnesses {
		if err := checkURL(w.URL); err != nil {
			return fmt.Errorf("witness %s: %w", w.Name, err)
		}
		if own := []signer.PublicKey{n.keys.log.Public(), n.keys.time.Public(), n.keys.system.Public()}; slices.Contains(own, w.Cosigner.Key) {
			return fmt.Errorf("witness %s has a key of this server", w.Name)
		}
	}
	n.confirm.quorum, n.confirm.Witnesses = quorum, quorum.Lines(true)
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%q is not the URL of a server", text)
	}
	return nil
}

func (n *Node) openStamps() error {
	switch address := n.confirm.TimestampURL; address {
	case "":
		return nil
	case TimestampLocal:
		authority, err := tsa.Open(n.folder.key("timestamp"), n.cfg.Now)
		if err != nil {
			return err
		}
		n.confirm.stamp, n.confirm.TimestampRoots = authority.Stamp, [][]byte{authority.Root().Raw}
	default:
		if err := checkURL(address); err != nil {
			return err
		}
		n.confirm.stamp = (&tsa.Client{URL: address}).Stamp
	}
	for _, root := range n.confirm.TimestampRoots {
		if _, err := x509.ParseCertificate(root); err != nil {
			return fmt.Errorf("certificate of the time-stamp authority: %w", err)
		}
	}
	return nil
}

func (n *Node) openEvery() (err error) {
	if n.confirm.Every == "" {
		return nil
	}
	if n.confirm.every, err = time.ParseDuration(n.confirm.Every); err == nil && n.confirm.every < minConfirmEvery {
		err = fmt.Errorf("every %s: less than %s", n.confirm.every, minConfirmEvery)
	}
	return err
}

// ledger is what the ledger is told.
func (c *confirm) ledger(nodes func(tenant string) chain.NodeReader) *ledger.Confirm {
	return &ledger.Confirm{Quorum: c.quorum, Stamp: c.stamp, Nodes: nodes, Every: c.every}
}

// lines are what policies say of the witnesses.
func (c *confirm) lines() []string {
	if c.quorum == nil {
		return nil
	}
	return c.quorum.Lines(false)
}

// stampExport is an evidence.Stamper. An export does not fail, nor wait for long, because nobody stamps it.
func (n *Node) stampExport(ctx context.Context, message []byte) ([]byte, error) {
	if n.confirm.stamp == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stampPatience)
	defer cancel()
	response, err := n.confirm.stamp(ctx, message)
	if err != nil {
		n.cfg.Log.WarnContext(ctx, "an export was not stamped", slog.Any("error", err))
		return nil, nil
	}
	return response, nil
}
