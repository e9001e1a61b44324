package rules

import (
	_ "embed"
)

// DefaultSource is the rule file that comes with Custody.
//
//go:embed pack/default.yaml
var DefaultSource []byte
