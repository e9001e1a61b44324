// Package custody_test proves the import rules of ARCHITECTURE.md: which room may use which, and what
// the offline verifier never links.
//
// The same rules stand in .golangci.yml for the linter's depguard, so that an editor shows a wrong
// import while it is typed; [TestDepguardSaysTheSame] holds the two together. Test files are exempt:
// they may reach anything that makes no import cycle.
package custody_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
)

const module = "github.com/agentcustody/custody"

// anyRoom in a room's may list allows the whole module.
const anyRoom = ""

// room is one folder of the layout together with the folders beneath it that have no row of their own.
type room struct {
	may   []string // rooms it may import besides itself, each with the folders beneath it
	never []string // import path prefixes outside the module that it must not import directly
}

// network is what the auditor's verifier must not need: it runs offline and is read in an afternoon.
var network = []string{"github.com/ClickHouse/", "github.com/nats-io/", "google.golang.org/grpc"}

// inputOutput is what keeps chain pure.
var inputOutput = []string{"database/sql", "io/fs", "log", "net", "os"}

// rooms is the table of ARCHITECTURE.md. A row whose folder does not exist yet is allowed.
var rooms = map[string]room{
	"proto":               {may: nil},
	"proto/custody/event": {never: network},
	"event":               {may: []string{"proto/custody/event"}, never: network},
	"chain":               {never: slices.Concat(network, inputOutput)},
	"signer":              {may: []string{"chain", "event", "proto"}},
	"stream":              {may: []string{"event", "proto"}},
	"access":              {may: []string{"event", "proto"}},
	"object":              {may: []string{"access/content", "event", "proto/custody/event", "signer"}},
	"store":               {may: []string{"chain", "event", "proto"}},
	"ingest":              {may: []string{"access", "chain", "event", "object", "proto", "signer", "stream"}},
	"ledger":              {may: []string{"chain", "event", "proto", "signer", "store", "stream"}},
	"query":               {may: []string{"access", "chain", "event", "object", "proto", "signer", "store"}},
	"contain":             {may: []string{"access", "event", "proto", "signer", "stream"}},
	"evidence":            {may: []string{"chain", "event", "proto/custody/event", "signer"}, never: network},
	"edge":                {may: []string{"chain", "event", "proto", "signer"}},
	"examples":            {may: []string{"edge"}},
	"interop":             {may: nil},
	"dashboards":          {may: []string{"contain", "event", "evidence", "proto", "query"}},
	"cmd/custody-verify": {
		may:   []string{"chain", "event", "evidence", "proto/custody/event", "signer"},
		never: network,
	},
	"cmd/custody": {may: []string{anyRoom}},
	"internal":    {may: []string{anyRoom}},
}

// neverLinks names, by package, import path prefixes that must not be reached through any import.
var neverLinks = map[string][]string{
	module + "/cmd/custody-verify": verifierNeverLinks,
	module + "/evidence":           verifierNeverLinks,
}

var verifierNeverLinks = slices.Concat(network, []string{
	"github.com/ebitengine/purego", // the binding to the embedded engine
	module + "/proto/custody/api",
	module + "/signer/kms",
	module + "/signer/vault",
})

// goPackage is the part of `go list -json` that the rules need.
type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	for _, wrong := range wrongImports(listPackages(t), rooms) {
		t.Error(wrong)
	}
}

func TestVerifierLinksNoNetwork(t *testing.T) {
	for _, wrong := range wrongLinks(listPackages(t), neverLinks) {
		t.Error(wrong)
	}
}

// TestDepguardSaysTheSame compares the linter's rules with the table, whole and both ways.
func TestDepguardSaysTheSame(t *testing.T) {
	text, err := os.ReadFile(".golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config lintConfig
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	got, want := config.Linters.Settings.Depguard.Rules, depguardRules(rooms)
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("depguard in .golangci.yml differs from the table (-table +depguard):\n%s", diff)
	}
}

func TestWrongImportsAreCaught(t *testing.T) {
	table := map[string]room{
		"event":    {},
		"evidence": {may: []string{"event"}, never: []string{"google.golang.org/grpc"}},
		"evidenza": {},
		"internal": {may: []string{anyRoom}},
	}
	tests := map[string]struct {
		from, to string
		wrong    bool
	}{
		"allowed room":             {"evidence", module + "/event", false},
		"folder beneath it":        {"evidence", module + "/event/registry", false},
		"own room":                 {"evidence/zip", module + "/evidence", false},
		"standard library":         {"evidence", "net/http", false},
		"everything":               {"internal/node", module + "/evidence", false},
		"room not in its row":      {"event", module + "/evidence", true},
		"folder not in its row":    {"event/registry", module + "/evidence/zip", true},
		"name with the same start": {"evidence", module + "/evidenza", true},
		"forbidden outside":        {"evidence", "google.golang.org/grpc/codes", true},
		"folder without a row":     {"utils", "fmt", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			packages := []goPackage{{ImportPath: module + "/" + test.from, Imports: []string{test.to}}}
			if got := wrongImports(packages, table); (len(got) > 0) != test.wrong {
				t.Errorf("%s imports %s: got %q, want wrong = %v", test.from, test.to, got, test.wrong)
			}
		})
	}
}

func TestWrongLinksAreCaught(t *testing.T) {
	packages := []goPackage{
		{ImportPath: "a", Imports: []string{"b", "fmt"}},
		{ImportPath: "b", Imports: []string{"c"}},
		{ImportPath: "c", Imports: []string{"google.golang.org/grpc/codes"}},
	}
	got := wrongLinks(packages, map[string][]string{"a": network, "absent": network})
	want := []string{"a links google.golang.org/grpc/codes: a → b → c → google.golang.org/grpc/codes"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

// wrongImports returns a sentence for each import that the table does not allow.
func wrongImports(packages []goPackage, table map[string]room) []string {
	var wrong []string
	for _, pkg := range packages {
		folder, ours := inModule(pkg.ImportPath)
		if !ours {
			continue
		}
		name, known := roomOf(folder, table)
		if !known {
			wrong = append(wrong, folder+" is in no room of the table: see Layout in ARCHITECTURE.md")
			continue
		}
		for _, imported := range pkg.Imports {
			if !table[name].allows(name, imported) {
				wrong = append(wrong, fmt.Sprintf("%s must not import %s", folder, imported))
			}
		}
	}
	return wrong
}

func (r room) allows(own, imported string) bool {
	if folder, ours := inModule(imported); ours {
		return under(folder, own) || slices.ContainsFunc(r.may, func(room string) bool { return under(folder, room) })
	}
	return !hasAnyPrefix(imported, r.never)
}

// roomOf returns the longest row that holds folder: a folder may have a row of its own.
func roomOf(folder string, table map[string]room) (name string, known bool) {
	for row := range table {
		if under(folder, row) && len(row) > len(name) {
			name = row
		}
	}
	return name, name != ""
}

// inModule returns the folder of an import path within this module.
func inModule(importPath string) (folder string, ours bool) {
	return strings.CutPrefix(importPath, module+"/")
}

func under(folder, room string) bool {
	return room == anyRoom || folder == room || strings.HasPrefix(folder, room+"/")
}

func hasAnyPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// wrongLinks returns, for each root that exists, the import chain to each package it must not reach.
func wrongLinks(packages []goPackage, never map[string][]string) []string {
	imports := make(map[string][]string, len(packages))
	for _, pkg := range packages {
		imports[pkg.ImportPath] = pkg.Imports
	}
	var wrong []string
	for _, root := range slices.Sorted(maps.Keys(never)) {
		paths := pathsFrom(root, imports, never[root])
		for _, reached := range slices.Sorted(maps.Keys(paths)) {
			if hasAnyPrefix(reached, never[root]) {
				wrong = append(wrong, fmt.Sprintf("%s links %s: %s", root, reached, paths[reached]))
			}
		}
	}
	return wrong
}

// pathsFrom returns, for each package that root reaches, a shortest chain of imports to it. It goes
// no further than the first forbidden package of a chain.
func pathsFrom(root string, imports map[string][]string, forbidden []string) map[string]string {
	paths := map[string]string{root: root}
	for queue := []string{root}; len(queue) > 0; queue = queue[1:] {
		if hasAnyPrefix(queue[0], forbidden) {
			continue
		}
		for _, imported := range imports[queue[0]] {
			if _, seen := paths[imported]; !seen {
				paths[imported] = paths[queue[0]] + " → " + imported
				queue = append(queue, imported)
			}
		}
	}
	return paths
}

// listPackages returns every package of the module and all that they import, without test files.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	openSourceFolders(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, pkg)
	}
}

// openSourceFolders reads every source folder. `go test` caches a result until a file or folder that
// the test opened changes, and it does not see what `go list` opens.
func openSourceFolders(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && path != "."
		if err == nil && entry.IsDir() && (hidden || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lintConfig is the part of .golangci.yml that holds the import rules.
type lintConfig struct {
	Linters struct {
		Settings struct {
			Depguard struct {
				Rules map[string]depguardRule `yaml:"rules"`
			} `yaml:"depguard"`
		} `yaml:"settings"`
	} `yaml:"linters"`
}

type depguardRule struct {
	ListMode string   `yaml:"list-mode"`
	Files    []string `yaml:"files"`
	Allow    []string `yaml:"allow"`
	Deny     []denied `yaml:"deny"`
}

type denied struct {
	Pkg  string `yaml:"pkg"`
	Desc string `yaml:"desc"`
}

// depguardRules writes the table as depguard has it: the module is denied, and of two matching
// prefixes the longer one counts.
func depguardRules(table map[string]room) map[string]depguardRule {
	rules := make(map[string]depguardRule)
	for name, row := range table {
		if slices.Contains(row.may, anyRoom) {
			continue
		}
		rules[strings.ReplaceAll(name, "/", "-")] = row.depguard(name)
	}
	return rules
}

func (r room) depguard(name string) depguardRule {
	rule := depguardRule{ListMode: "lax", Files: []string{"${config-path}/" + name + "/**", "!$test"}}
	for _, allowed := range append(slices.Clone(r.may), name) {
		rule.Allow = append(rule.Allow, module+"/"+allowed)
	}
	for _, prefix := range append([]string{module}, r.never...) {
		rule.Deny = append(rule.Deny, denied{Pkg: prefix, Desc: "see Layout in ARCHITECTURE.md"})
	}
	return rule
}
