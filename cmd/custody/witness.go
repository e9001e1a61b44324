package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/witness"
)

// witnessListen is loopback: nothing is open to a network that nobody asked for.
const witnessListen = "127.0.0.1:7445"

// witnessPatience bounds how long a witness waits at its end for requests on their way.
const witnessPatience = 5 * time.Second

// witnessCommand runs a witness.
func (a *app) witnessCommand() *cobra.Command {
	return group("witness", "Witness logs: confirm that each has only one history", a.witnessServe())
}

// witnessFlags are the flags of witness serve.
type witnessFlags struct {
	dir, name, logs, listen, certificate, key string
	verbose                                   bool
}

func (a *app) witnessServe() *cobra.Command {
	var f witnessFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a witness: cosign the checkpoints of logs that continue what was cosigned before",
		Long: "Run a C2SP tlog-witness until it is told to stop. It needs no server of Custody and is best run by somebody else: a client,\n" +
			"for its own log. It remembers the last checkpoint of each log, durably, before it signs the next, and refuses one that does\n" +
			"not continue it. Its folder holds its key and what it has promised: do not run it from a copy, and if the folder is lost,\n" +
			"make another witness with another name. Outside loopback it wants a certificate; callers prove themselves by the log's key.",
		Example: "  custody witness serve --dir witness --name witness.example/w1 --logs acme.log\n" +
			"  custody witness serve --dir witness --name witness.example/w1 --logs acme.log --listen :7445 --tls-cert FILE --tls-key FILE",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.witness(cmd.Context(), f) },
	}
	f.register(cmd)
	return cmd
}

func (f *witnessFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.dir, "dir", "", "folder of the key and the state; made if it does not exist (required)")
	fl.StringVar(&f.name, "name", "", "name of the witness's key: a URL without its scheme (required)")
	fl.StringVar(&f.logs, "logs", "", "file of a C2SP tlog-policy with a log line for each log that it knows (required)")
	fl.StringVar(&f.listen, "listen", witnessListen, "address, HOST:PORT")
	fl.StringVar(&f.certificate, "tls-cert", "", "PEM file of the server's certificate")
	fl.StringVar(&f.key, "tls-key", "", "PEM file of its key")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log at debug level")
	for _, name := range []string{"dir", "name", "logs"} {
		_ = cmd.MarkFlagRequired(name)
	}
}

// witness runs until the context ends or serving fails.
func (a *app) witness(ctx context.Context, f witnessFlags) (err error) {
	config, err := f.tls()
	if err != nil {
		return err
	}
	logs, err := readLogs(f.logs)
	if err != nil {
		return err
	}
	w, err := witness.Open(witness.Config{Dir: f.dir, Name: f.name, Logs: logs, Log: a.logger(f.verbose)})
	if err != nil {
		return explainWitness(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	scheme := "http"
	if config != nil {
		listener, scheme = tls.NewListener(listener, config), "https"
	}
	fmt.Fprintf(a.out, "custody witness: ready on %s://%s, %s\n", scheme, listener.Addr(), w.VKey())
	return serveWitness(ctx, w.Server(), listener)
}

func serveWitness(ctx context.Context, server *http.Server, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), witnessPatience)
		defer cancel()
		_ = server.Shutdown(ctx) // what has not ended by then is cut: its log asks again
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// tls is nil on loopback without a certificate.
func (f *witnessFlags) tls() (*tls.Config, error) {
	host, _, err := hostPort("--listen", f.listen)
	if err != nil {
		return nil, err
	}
	if f.certificate == "" && f.key == "" {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, usageError("--listen %s is not loopback: give --tls-cert and --tls-key", f.listen)
		}
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, inputError(fmt.Errorf("read certificate: %w", err), "give --tls-cert and --tls-key in PEM")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}, nil
}

// readLogs reads the logs that a witness is to know.
func readLogs(path string) ([]signer.KnownLog, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read logs: %w", err)
	}
	policy, err := signer.ParseQuorum(text)
	if err == nil && len(policy.Logs) == 0 {
		err = errors.New("it names no log")
	}
	if err != nil {
		return nil, inputError(fmt.Errorf("read logs: %s: %w", path, err), "custody log key --tenant TENANT")
	}
	return policy.Logs, nil
}

// explainWitness says what to do about a witness that does not start.
func explainWitness(err error) error {
	switch {
	case errors.Is(err, witness.ErrLocked):
		return fail(exitConflict, err, nothingChanged, "stop the other one, or name another folder")
	case errors.Is(err, witness.ErrState):
		return fail(exitProblems, err, "nothing was signed", "restore the folder from where it was lost; if that cannot be done, make another witness and have policies name it instead")
	case errors.Is(err, signer.ErrVKey):
		return inputError(err, "give a --name without spaces and plus signs")
	}
	return err
}
