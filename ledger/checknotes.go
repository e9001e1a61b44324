package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
	"github.com/agentcustody/custody/store"
)

// checkpointPage is how many checkpoints of a log are read at once.
const checkpointPage = 512

// checkNotes verifies the checkpoints up to the log's size.
func (c *checker) checkNotes(ctx context.Context, log *checkedLog, t *tenant) error {
	for {
		if err := c.readNotes(ctx, log, t); err != nil {
			return err
		}
		if len(log.notes) == 0 || log.notes[0].Size > t.size() {
			return nil
		}
		c.checkNote(t, log.notes[0])
		log.notes = log.notes[1:]
	}
}

// readNotes reads the next checkpoints when none is left.
func (c *checker) readNotes(ctx context.Context, log *checkedLog, t *tenant) (err error) {
	for len(log.notes) == 0 && !log.drained {
		if log.notes, err = c.snapshot.Checkpoints(ctx, t.name, log.noted, checkpointPage); err != nil {
			return err
		}
		if log.drained = len(log.notes) < checkpointPage; len(log.notes) > 0 {
			log.noted = log.notes[len(log.notes)-1].Size + 1
		}
	}
	return nil
}

func (c *checker) checkNote(t *tenant, n store.Checkpoint) {
	genesis := t.registry.Genesis()
	signed, err := signer.OpenCheckpoint(n.Note, genesis.GetOrigin(), signer.PublicKey(genesis.GetLogKey()))
	switch {
	case err != nil:
		c.noteProblem(n, "note", err.Error())
	case uint64(signed.Size) != n.Size:
		c.noteProblem(n, "size", fmt.Sprintf("the note says %d", signed.Size))
	case n.Size == t.size() && signed.Root != t.chain.Root():
		c.noteProblem(n, "note", "root differs from that of the log")
	case n.Size < t.size():
		c.noteProblem(n, "size", "no message of the log ends there")
	case n.Token != nil && !stamps(n.Token, n.Note):
		c.noteProblem(n, "token", "no time stamp of the note")
	case witnessesOf(n.Note, genesis.GetOrigin()) != n.Witnesses:
		c.noteProblem(n, "witnesses", fmt.Sprintf("the note has signatures of %d others", witnessesOf(n.Note, genesis.GetOrigin())))
	default:
		c.progress.Checkpoints++
	}
}

// stamps reports whether a token is a time stamp of a note, by whomever.
func stamps(token, note []byte) bool {
	s, err := timestamp.Parse(token)
	return err == nil && s.Of(note) == nil
}

// witnessesOf counts the signatures of a note that are not by the log's own keys.
func witnessesOf(note []byte, origin string) (n uint16) {
	_, signatures, _ := strings.Cut(string(note), "\n\n")
	for line := range strings.Lines(signatures) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		if name != origin && name != origin+TimeKeySuffix {
			n++
		}
	}
	return n
}

func (c *checker) noteProblem(n store.Checkpoint, column, message string) {
	c.found(store.Problem{
		Tenant: n.Tenant, Table: "checkpoints", Row: fmt.Sprintf("tenant=%q size=%d", n.Tenant, n.Size),
		Column: column, Message: message,
	})
}
