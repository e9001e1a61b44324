// Command custody-verify checks an evidence bundle offline.
//
//	custody-verify BUNDLE --policy FILE
//
// It needs nothing but the bundle and the policy file: no server, no network, no database. `custody-verify --help` lists the
// exit codes.
package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// gcPercent lets the heap grow between collections: what is alive is small, so this costs tens of megabytes and saves a third
// of the time.
const gcPercent = 800

// memoryLimit is where it collects garbage sooner all the same: a machine that is busy with other things falls behind, and a verification of
// any size stays under 300 MB.
const memoryLimit = 192 << 20

const usage = `custody-verify checks an evidence bundle, or a statement of isolation, offline.

Usage: custody-verify BUNDLE [--policy FILE] [--held FILE]… [--receipts FILE]…
                      [--event ID]… [--crl FILE]… [-o text|json]
       custody-verify STATEMENT [--policy FILE] [--bundle FILE] [-o text|json]

  --policy FILE  what you trust: the policy file that you got from the operator on another way than the bundle,
                 and whose fingerprint you compared by telephone. Without it only integrity is checked.
  --held FILE    an earlier state of the log that you hold: a checkpoint, or a bundle that you got before. The bundle
                 must show that its log continues it (custody evidence export --from-checkpoint). Repeatable.
  --receipts FILE  receipts that the log's operator gave for what it took (custody edge --receipts). For each it is said whether
                 the log keeps what the receipt is for. Repeatable; 65,536 receipts at most.
  --bundle FILE  the bundle of the same period, to which a statement of isolation is held
  --event ID     an event of which to say when it must have happened. Repeatable.
  --crl FILE     a list of revoked certificates (CRL, DER or PEM) of the authority that issued the certificate of a time
                 stamp. Without one, and if the stamp carries none, the verdict says "not checked". Repeatable.
  -o FORMAT      text (default) or json
  --version      print the version

Exit codes:
   0  every check passed, and nothing is missing
   1  the verification could not be carried out (a file cannot be read, or the policy is malformed)
   2  wrong command line
   3  every check passed, but it is open whether a producer sent more
   4  every check passed, but records that producers numbered never arrived
   5  intact, but without a policy nobody vouches for it
  10  the file is not a well-formed bundle
  11  the files inside are not those listed
  12  a file inside is not in its format
  13  the bundle is of another log than the policy's
  14  the list of files is not signed with the policy's export key
  15  the state of the log is not signed with the policy's log key
  16  records were altered, reordered, inserted or dropped in the log
  17  the records are not all of the time window, or of the instance or run
  18  a key was not admitted, or not at that place
  19  a producer's signature does not hold
  20  the content of a record is not what was signed
  21  the log's own judgement contradicts the records
  22  disclosed, withheld or erased content is not what it is said to be
  23  an account in the bundle does not match its records
  24  the log does not continue an earlier state of it, or the bundle does not show it
  25  too few of the witnesses that the policy names confirm the state of the log
  26  a time stamp is of something else, or of no authority that the policy names
  27  the log does not hold records that it gave a receipt for
  28  a receipt is not one of this log: nothing can be concluded from it
`

func main() {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the command line.
type options struct {
	bundle, policy, output string
	beside                 string // bundle beside a statement of isolation
	held, crls, receipts   []string
	events                 []event.ID
	version                bool
}

// run returns the exit code.
func run(ctx context.Context, args []string, out, problems io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return evidence.ExitVerified
	case err != nil:
		fmt.Fprintf(problems, "custody-verify: %v\nTry custody-verify --help.\n", err)
		return evidence.ExitUsage
	case o.version:
		fmt.Fprintln(out, "custody-verify "+version())
		return evidence.ExitVerified
	}
	code, err := verify(ctx, o, out)
	if err != nil {
		fmt.Fprintf(problems, "custody-verify: %v\n", err)
		return evidence.ExitError
	}
	return code
}

// parse reads flags before and after the bundle's name.
func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("custody-verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.policy, "policy", "", "")
	flags.Func("held", "", func(name string) error { o.held = append(o.held, name); return nil })
	flags.Func("crl", "", func(name string) error { o.crls = append(o.crls, name); return nil })
	flags.Func("receipts", "", func(name string) error { o.receipts = append(o.receipts, name); return nil })
	flags.StringVar(&o.beside, "bundle", "", "")
	flags.StringVar(&o.output, "o", "text", "")
	flags.Func("event", "", func(text string) error {
		id, err := event.ParseID(text)
		o.events = append(o.events, id)
		return err
	})
	flags.BoolVar(&o.version, "version", false, "")
	var names []string
	for rest := args; ; {
		if err := flags.Parse(rest); err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		names, rest = append(names, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case o.version:
	case len(names) != 1:
		return o, errors.New("name one bundle")
	case o.output != "text" && o.output != "json":
		return o, fmt.Errorf("-o %s: must be text or json", o.output)
	default:
		o.bundle = names[0]
	}
	return o, nil
}

// verify writes the verdict and returns its exit code.
func verify(ctx context.Context, o options, out io.Writer) (int, error) {
	policy, err := readPolicy(o.policy)
	if err != nil {
		return 0, err
	}
	held, err := readHeld(o.held)
	if err != nil {
		return 0, err
	}
	lists, err := readLists(o.crls)
	if err != nil {
		return 0, err
	}
	receipts, err := readReceipts(o.receipts)
	if err != nil {
		return 0, err
	}
	file, err := open(o.bundle)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	switch statement, err := file.statement(); {
	case err != nil:
		return 0, err
	case statement != nil && o.receipts != nil:
		return 0, errors.New("--receipts goes with a bundle")
	case statement != nil:
		return verifyIsolation(ctx, o, statement, policy, out)
	case o.beside != "":
		return 0, errors.New("--bundle goes with a statement of isolation")
	}
	found, err := evidence.Verify(ctx, file, file.size, policy, evidence.VerifyOptions{
		Held: held, Events: o.events, Receipts: receipts, RevocationLists: lists,
	})
	if err != nil {
		return 0, err
	}
	return found.Exit, write(out, &found, o.output)
}

// input is a file with its size.
type input struct {
	*os.File
	size int64
}

func open(name string) (*input, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &input{file, info.Size()}, nil
}

// statement returns the file if it is a statement of isolation, otherwise nil.
func (i *input) statement() ([]byte, error) {
	start := make([]byte, min(i.size, 64))
	if _, err := i.ReadAt(start, 0); err != nil || !evidence.IsIsolation(start) {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(i, evidence.MaxIsolation+1))
}

// verifyIsolation is verify for a statement of isolation.
func verifyIsolation(ctx context.Context, o options, statement []byte, policy *evidence.Policy, out io.Writer) (int, error) {
	var beside *evidence.Beside
	if o.beside != "" {
		bundle, err := open(o.beside)
		if err != nil {
			return 0, err
		}
		defer bundle.Close()
		beside = &evidence.Beside{Bundle: bundle, Size: bundle.size}
	}
	found, err := evidence.VerifyIsolation(ctx, statement, policy, beside, evidence.VerifyOptions{})
	if err != nil {
		return 0, err
	}
	return found.Exit, write(out, &found, o.output)
}

// readHeld reads the states of the log that the auditor holds.
func readHeld(names []string) (notes [][]byte, err error) {
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		note, err := evidence.ReadCheckpoint(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// readReceipts reads files of receipts, one after the other.
func readReceipts(names []string) (all []signer.KeptReceipt, err error) {
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		list, err := evidence.ReadReceipts(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if all = append(all, list...); len(all) > evidence.MaxReceipts {
			return nil, fmt.Errorf("more than %d receipts: hold the bundle to fewer at a time", evidence.MaxReceipts)
		}
	}
	return all, nil
}

// readLists reads lists of revoked certificates.
func readLists(names []string) (lists []*x509.RevocationList, err error) {
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		list, err := timestamp.ParseRevocationList(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func readPolicy(name string) (*evidence.Policy, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return evidence.ParsePolicy(b)
}

// verdict is what a verification found.
type verdict interface {
	Text() string
	JSON() ([]byte, error)
}

func write(out io.Writer, v verdict, format string) error {
	text := []byte(v.Text())
	if format == "json" {
		var err error
		if text, err = v.JSON(); err != nil {
			return err
		}
	}
	_, err := out.Write(text)
	return err
}

// version is that of the module this program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(unknown)"
}
