package evidence

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
)

// PolicyVersion is the only version of the policy file.
const PolicyVersion = 1

// ErrPolicy says that a text is not a policy.
var ErrPolicy = errors.New("malformed policy")

// Policy is what an auditor trusts, got from the operator on another way than the bundles that it judges, and compared by
// telephone. No trust anchor is ever taken from a bundle.
type Policy struct {
	Version   int              `json:"version"`             // PolicyVersion
	Tenant    string           `json:"tenant"`              // whose log
	Origin    string           `json:"origin"`              // the log's name
	LogKey    string           `json:"log_key"`             // verifier key of checkpoints, named by the origin: signer.VKey
	SystemKey signer.PublicKey `json:"system_key"`          // signs the genesis and Custody's own events
	ExportKey signer.ExportKey `json:"export_key"`          // signs bundles
	TimeKey   string           `json:"time_key,omitempty"`  // verifier key of the operator's timestamped cosignature: signer.CosignatureVKey
	Witnesses []string         `json:"witnesses,omitempty"` // lines of a C2SP tlog-policy without logs and URLs: signer.Quorum.Lines

	TimestampRoots [][]byte `json:"timestamp_roots,omitempty"` // certificates, DER, to which time stamps must lead; at most maxRoots
}

// ParsePolicy reads a policy file: JSON with every field in its order, none repeated and none unknown; white space is free. The
// error is ErrPolicy.
func ParsePolicy(b []byte) (*Policy, error) {
	if len(b) > maxPolicy {
		return nil, fmt.Errorf("parse policy of %d bytes: %w", len(b), ErrPolicy)
	}
	p := new(Policy)
	if err := unmarshalLoosely(b, p); err != nil {
		return nil, fmt.Errorf("parse policy: %w: %w", ErrPolicy, err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("parse policy: %w", err)
	}
	return p, nil
}

// Marshal returns the policy file. The error is ErrPolicy, for a policy that ParsePolicy would refuse.
func (p *Policy) Marshal() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	return marshalJSON(p)
}

func (p *Policy) check() error {
	if p.Version != PolicyVersion {
		return fmt.Errorf("version %d: %w", p.Version, ErrPolicy)
	}
	if !event.ValidName(p.Tenant) {
		return fmt.Errorf("tenant %q: %w", p.Tenant, ErrPolicy)
	}
	if name, _, err := signer.ParseVKey(p.LogKey); err != nil || name != p.Origin {
		return fmt.Errorf("log key is not one of %q: %w", p.Origin, errors.Join(ErrPolicy, err))
	}
	_, err1 := signer.ParsePublicKey(p.SystemKey[:])
	_, err2 := signer.ParseExportKey([]byte(p.ExportKey))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if _, err := p.cosigners(); err != nil {
		return fmt.Errorf("time key or witnesses: %w: %w", ErrPolicy, err)
	}
	return p.checkOthers()
}

// checkOthers looks at those who are not the operator: they must not be the operator.
func (p *Policy) checkOthers() error {
	quorum, err := p.quorum()
	if err != nil {
		return fmt.Errorf("witnesses: %w: %w", ErrPolicy, err)
	}
	if quorum != nil {
		for _, w := range quorum.Witnesses {
			if key := w.Cosigner.Key; key == p.logKey() || key == p.SystemKey || key.Export() == p.ExportKey || p.isTimeKey(key) {
				return fmt.Errorf("witness %q has a key of the operator: %w", w.Name, ErrPolicy)
			}
		}
	}
	if len(p.TimestampRoots) > maxRoots {
		return fmt.Errorf("%d time-stamp roots: %w", len(p.TimestampRoots), ErrPolicy)
	}
	if _, err := p.roots(); err != nil {
		return fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return nil
}

// quorum is what the policy asks of witnesses, nil if it asks for nothing.
func (p *Policy) quorum() (*signer.Quorum, error) {
	if len(p.Witnesses) == 0 {
		return nil, nil
	}
	q, err := signer.ParseQuorum([]byte(strings.Join(p.Witnesses, "\n") + "\n"))
	if err != nil {
		return nil, err
	}
	if len(q.Logs) > 0 || !slices.Equal(q.Lines(false), p.Witnesses) {
		return nil, fmt.Errorf("logs, URLs or a second encoding: %w", signer.ErrQuorum)
	}
	return q, nil
}

// roots are the certificates to which time stamps must lead.
func (p *Policy) roots() ([]*x509.Certificate, error) { return parseRoots(p.TimestampRoots) }

// isTimeKey reports whether a cosignature is the operator's own.
func (p *Policy) isTimeKey(key signer.PublicKey) bool {
	_, own, err := signer.ParseCosignatureVKey(p.TimeKey)
	return err == nil && own == key
}

// logKey is the key of a policy that was checked.
func (p *Policy) logKey() signer.PublicKey {
	_, key, _ := signer.ParseVKey(p.LogKey)
	return key
}

// cosigners are whose time counts.
func (p *Policy) cosigners() ([]signer.Cosigner, error) {
	quorum, err := p.quorum()
	if err != nil {
		return nil, err
	}
	var list []signer.Cosigner
	if quorum != nil {
		list = quorum.Cosigners()
	}
	if p.TimeKey == "" {
		return list, nil
	}
	name, key, err := signer.ParseCosignatureVKey(p.TimeKey)
	if err != nil {
		return nil, err
	}
	return append(list, signer.Cosigner{Name: name, Key: key}), nil
}

// Fingerprint is a short text that two people compare by telephone.
type Fingerprint struct {
	Of   string // "policy", "log key", "system key", "export key", "time key", "witness NAME", "time-stamp root"
	Text string // 64 hexadecimal digits in groups of four
}

// Fingerprints are SHA-256 of the policy file as Marshal writes it, which is enough, and of each key (its id), which say where
// two policies differ.
func (p *Policy) Fingerprints() ([]Fingerprint, error) {
	file, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	list := []Fingerprint{
		{"policy", groups(sha256.Sum256(file))},
		{"log key", groups(p.logKey().ID())},
		{"system key", groups(p.SystemKey.ID())},
		{"export key", groups(p.ExportKey.ID())},
	}
	if _, key, err := signer.ParseCosignatureVKey(p.TimeKey); err == nil {
		list = append(list, Fingerprint{"time key", groups(key.ID())})
	}
	quorum, err := p.quorum()
	if quorum != nil {
		for _, w := range quorum.Witnesses {
			list = append(list, Fingerprint{"witness " + event.Escape(w.Name), groups(w.Cosigner.Key.ID())})
		}
	}
	for _, der := range p.TimestampRoots {
		list = append(list, Fingerprint{"time-stamp root", groups(sha256.Sum256(der))})
	}
	return list, err
}

func groups(sum [sha256.Size]byte) string {
	var parts []string
	for i := 0; i < len(sum); i += 2 {
		parts = append(parts, hex.EncodeToString(sum[i:i+2]))
	}
	return strings.Join(parts, " ")
}

// checkOrigin is for names that come from a bundle.
func checkOrigin(origin string) error { return chain.CheckOrigin(origin) }
