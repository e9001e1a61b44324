package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
)

// hashed is the ending of a name that was changed; nameHash is its length in hexadecimal digits.
var hashed = regexp.MustCompile(`-[0-9a-f]{12}$`)

const nameHash = 12

// notAllowed is what becomes a hyphen.
var notAllowed = regexp.MustCompile(`[^a-z0-9]+`)

// instanceOf is the instance of a pipeline: its name, if that is valid as it is, or else what is left of it and a hash.
// A name that could be taken for a changed one is changed too, so no two pipelines share an instance unless 48 bits of
// their hashes agree; the import refuses even that.
func instanceOf(pipeline string) event.InstanceID {
	if event.ValidName(pipeline) && !hashed.MatchString(pipeline) && pipeline != string(event.InstanceCustody) {
		return event.InstanceID(pipeline)
	}
	return event.InstanceID(changed(pipeline, event.MaxName))
}

// tenantOf is the tenant of a suite, for example agentdojo-workspace.
func tenantOf(prefix, suite string) event.TenantID {
	if name := prefix + "-" + suite; event.ValidName(name) && !hashed.MatchString(name) {
		return event.TenantID(name)
	}
	return event.TenantID(prefix + "-" + changed(suite, event.MaxName-len(prefix)-1))
}

// changed is name in lower case, with a hyphen for what is not allowed, and the hash of the true name.
func changed(name string, most int) string {
	sum := sha256.Sum256([]byte("custody/import/name/v1\x00" + name))
	hash := hex.EncodeToString(sum[:nameHash/2])
	slug := strings.Trim(notAllowed.ReplaceAllString(strings.ToLower(name), "-"), "-")
	slug = strings.Trim(cut(slug, most-nameHash-1), "-")
	if slug == "" {
		return "x-" + hash
	}
	return slug + "-" + hash
}

// pseudonym is a principal that can be told from others and not read. It is a plain hash: whoever knows the name can
// find it again.
func pseudonym(kind, suite, name string) string {
	sum := sha256.Sum256([]byte("custody/import/principal/v1\x00" + suite + "\x00" + name))
	return kind + "-" + hex.EncodeToString(sum[:8])
}

// callName is the id of a run's n-th call, from 1: its number, and the trace's id, which need not be unique.
func callName(n int, id string) string {
	if id == "" {
		return fmt.Sprint(n)
	}
	return cut(fmt.Sprintf("%d/%s", n, id), event.MaxID)
}

// cut is s, or as many of its first bytes as make whole runes within most.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

// canonical is JSON with sorted keys, no space and no needless escapes, so that equal arguments are equal bytes. What is
// no JSON is kept as text. Numbers stay as they were written.
func canonical(raw json.RawMessage) arguments {
	if len(raw) == 0 {
		return arguments{}
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&value) != nil || d.More() {
		return arguments{typeText, raw}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return arguments{typeText, raw}
	}
	return arguments{typeJSON, bytes.TrimSuffix(out.Bytes(), []byte("\n"))}
}

// ordinary reports whether tools are usually called so. Any other name is counted as odd, and kept.
func ordinary(tool string) bool { return len(tool) <= maxID && plainID.MatchString(tool) }
