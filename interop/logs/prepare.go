//go:build ignore

// Command prepare makes copies of two modules, formats and merkle, in .modules, and adds what the witness of transparency-dev asks of
// commits that the module proxy does not have: an interface and a function for signatures over subtrees. None of the tests uses either;
// without them the witness does not compile. Nothing else is changed, and nothing of the witness.
package main

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// copies are the released modules, by folder.
var copies = map[string]string{
	"formats": "github.com/transparency-dev/formats@v0.1.1",
	"merkle":  "github.com/transparency-dev/merkle@v0.0.2",
}

const subtreeSigner = `
// SubtreeSigner is what a later commit of this module has.
type SubtreeSigner interface {
	note.Signer
	Verifier() note.Verifier
	SignSubtree(timestamp uint64, logOrigin string, start, end uint64, root []byte) ([]byte, error)
}
`

const subtreeProof = `package proof

import (
	"errors"

	"github.com/transparency-dev/merkle"
)

// VerifySubtreeConsistency stands for what a later commit of this module has.
func VerifySubtreeConsistency(merkle.LogHasher, uint64, uint64, uint64, [][]byte, []byte, []byte) error {
	return errors.New("not in this version")
}
`

func main() {
	check(os.RemoveAll(".modules"))
	for name, module := range copies {
		download := exec.Command("go", "mod", "download", "-json", module)
		download.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
		download.Dir = os.TempDir()
		out, err := download.Output()
		check(err)
		_, dir, _ := strings.Cut(string(out), `"Dir": "`)
		dir, _, _ = strings.Cut(dir, `"`)
		check(os.CopyFS(filepath.Join(".modules", name), os.DirFS(dir)))
		check(exec.Command("chmod", "-R", "u+w", filepath.Join(".modules", name)).Run())
	}
	cosigner := ".modules/formats/note/note_cosigv1.go"
	text, err := os.ReadFile(cosigner)
	check(err)
	renamed := strings.ReplaceAll(string(text), "SubtreeSigner", "mldsaSigner") + subtreeSigner
	check(os.WriteFile(cosigner, []byte(renamed), 0o600))
	check(os.WriteFile(".modules/merkle/proof/subtree.go", []byte(subtreeProof), 0o600))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
