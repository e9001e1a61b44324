package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/store"
)

// version is the module version that this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "development"
	}
	return info.Main.Version
}

// serveCommand runs the server.
func (a *app) serveCommand() *cobra.Command {
	cfg := node.Config{}
	var verbose bool
	var confirm confirmFlags
	var runRules string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: ingest, stream, ledger and store in one process",
		Long: "Run the server until it is told to stop. Without a flag it listens on loopback, keeps everything under the data\n" +
			"folder, makes its keys and a certificate authority at first start, and says in its log what it chose. It prints one\n" +
			"line when it is ready. CUSTODY_STORE and CUSTODY_STREAM stand for --store and --stream, and keep a password off the\n" +
			"command line.",
		Example: "  custody serve\n  custody serve --listen 0.0.0.0:7443 --advertise custody.example.com:7443 --domain custody.example.com\n" +
			"  CUSTODY_STORE=clickhouse://user:password@db:9000/custody custody serve --stream nats://bus:4222 --stream-creds FILE",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.DataDir, cfg.Log, cfg.Version = a.data, a.logger(verbose), version()
			if runRules != "on" && runRules != "off" {
				return usageError("--rules %q: want on or off", runRules)
			}
			cfg.RulesOff = runRules == "off"
			if err := a.complete(&cfg, cmd.Flags().Changed("domain")); err != nil {
				return err
			}
			var err error
			if cfg.Confirm, err = confirm.confirmers(a.data); err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	serveFlags(cmd, &cfg)
	confirm.register(cmd)
	cmd.Flags().StringVar(&runRules, "rules", "on", "on, or off: no rule is looked at, so none stops anything; recorded in every tenant's log")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log at debug level")
	return cmd
}

func serveFlags(cmd *cobra.Command, cfg *node.Config) {
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", node.DefaultListen, "address for emitters and people, HOST:PORT")
	f.StringVar(&cfg.Advertise, "advertise", "", "address that emitters are told, HOST:PORT; where it listens if absent")
	f.StringVar(&cfg.LogListen, "log-listen", "", "address that serves the logs over HTTPS to people with a certificate, HOST:PORT; nowhere if absent")
	f.StringVar(&cfg.Domain, "domain", node.DefaultDomain, "operator domain in the names of new logs; as the last time if absent")
	f.StringVar(&cfg.StoreDSN, "store", "", "store: chdb:///path, clickhouse://… or https://…; in the data folder if absent")
	f.StringVar(&cfg.StreamURL, "stream", "", "NATS URL; embedded in the data folder if absent")
	f.StringVar(&cfg.NKeyFile, "stream-nkey", "", "file with the seed for --stream")
	f.StringVar(&cfg.CredsFile, "stream-creds", "", "file with the credentials for --stream")
	f.BoolVar(&cfg.ApproveHigh, "approve-high", false, "every act of high consequence needs the approval of a person with the role approver")
	f.BoolVar(&cfg.ModerateNeedsLease, "moderate-needs-lease", false, "agents that are cut off stop acts of moderate consequence too, not only of high")
	f.StringVar(&cfg.Notify, "notify", "", "file of receivers of notifications; notify.yaml in the data folder if absent")
	f.StringVar(&cfg.Connectors, "connectors", "", "file of connectors that revoke credentials; connectors.yaml in the data folder if absent")
	f.Int64Var(&cfg.StreamMaxBytes, "stream-max", 0, "most bytes of the stream; 256 GiB if absent")
	f.Int64Var(&cfg.DiskReserve, "disk-reserve", 0, "free bytes below which emitters are pushed back; 1 GiB if absent, none if negative")
}

// complete takes what is not on the command line from the environment and from the last time, and checks it.
func (a *app) complete(cfg *node.Config, domainGiven bool) error {
	last, err := a.loadSettings()
	if err != nil {
		return err
	}
	if !domainGiven {
		cfg.Domain = last.Domain
	}
	if cfg.StoreDSN == "" {
		cfg.StoreDSN = os.Getenv(envStore)
	}
	if cfg.StreamURL == "" {
		cfg.StreamURL = os.Getenv(envStream)
	}
	return checkServe(cfg)
}

// storeSchemes begin what --store takes.
var storeSchemes = []string{"chdb:///", "clickhouse://", "https://", "http://"}

// streamSchemes begin what --stream takes.
var streamSchemes = []string{"nats://", "tls://", "ws://", "wss://"}

// leastStreamMax is the least that --stream-max takes, in bytes: some batches of the largest size, and Custody's own part.
const leastStreamMax = 16 << 20

// hostName is what --domain takes: it begins the names of logs.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

func checkServe(cfg *node.Config) error {
	for _, check := range []func(*node.Config) error{checkAddresses, checkPlaces} {
		if err := check(cfg); err != nil {
			return err
		}
	}
	if cfg.StreamMaxBytes != 0 && cfg.StreamMaxBytes < leastStreamMax {
		return usageError("--stream-max %d: want at least %d", cfg.StreamMaxBytes, leastStreamMax)
	}
	return nil
}

func checkAddresses(cfg *node.Config) error {
	for _, flag := range []struct{ name, address string }{{"--listen", cfg.Listen}, {"--log-listen", cfg.LogListen}, {"--advertise", cfg.Advertise}} {
		if flag.address == "" && flag.name != "--listen" {
			continue
		}
		host, port, err := hostPort(flag.name, flag.address)
		if err != nil {
			return err
		}
		if flag.name == "--advertise" && (host == "" || port == 0) {
			return usageError("--advertise %q: want HOST:PORT, where emitters can connect", flag.address)
		}
	}
	if !hostName.MatchString(cfg.Domain) {
		return usageError("--domain %q: want a host name", cfg.Domain)
	}
	return nil
}

func checkPlaces(cfg *node.Config) error {
	if !beginsWith(cfg.StoreDSN, storeSchemes) || cfg.StoreDSN != "" && store.CheckDSN(cfg.StoreDSN) != nil {
		return usageError("--store: want chdb:///PATH, clickhouse://HOST:9000/DATABASE or https://HOST:8443/DATABASE")
	}
	if !beginsWith(cfg.StreamURL, streamSchemes) {
		return usageError("--stream: want nats://HOST:4222 or tls://HOST:4222, several with commas between")
	}
	if cfg.StreamURL == "" && cfg.NKeyFile+cfg.CredsFile != "" {
		return usageError("--stream-nkey and --stream-creds are for --stream")
	}
	return nil
}

// beginsWith reports whether an address has one of the schemes, or is not given.
func beginsWith(address string, schemes []string) bool {
	return address == "" || slices.ContainsFunc(schemes, func(scheme string) bool { return strings.HasPrefix(address, scheme) })
}

func (a *app) logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// serve runs until the context ends or the node stops by itself.
func (a *app) serve(ctx context.Context, cfg node.Config) error {
	node.LimitMemory()
	node.ShareProcessors()
	if served, err := a.lock(servedFile); err == nil {
		defer served.Close()
	} // otherwise there is a server already, or opening says what is wrong
	var n *node.Node
	err := a.waitForTurn(ctx, func() (retry bool, err error) {
		n, err = node.Open(ctx, cfg)
		return errors.Is(err, node.ErrInUse) && a.isLent(), err
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	err = a.saveSettings(settings{Listen: n.Address(), Advertise: cfg.Advertise, Domain: cfg.Domain, Elsewhere: cfg.StoreDSN != "" || cfg.StreamURL != "", Connectors: absolute(cfg.Connectors), RulesOff: cfg.RulesOff})
	if err == nil {
		if cfg.RulesOff {
			a.note("%s", rulesAreOff)
		}
		if n.LogAddress() != "" {
			a.note("serves the logs on https://%s/log/TENANT/", n.LogAddress())
		}
		fmt.Fprintf(a.out, "custody: ready on %s, data in %s\n", n.Address(), a.data)
		err = n.Wait(ctx)
	}
	return errors.Join(err, n.Close())
}
