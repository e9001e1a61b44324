package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// app is what every command needs: the global flags and the standard streams.
type app struct {
	in       io.Reader
	out, err io.Writer

	data   string // data folder of the server
	server string // address of a server on another machine
	as     string // person whose client certificate is used
	format outputFormat
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, err: errw, format: formatTable}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(errw, err)
	}
	return exitOK
}

// rootCommand builds the whole command tree.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "custody",
		Short:         "A flight recorder with a brake for AI agents",
		Long:          "Custody records what AI agents do as signed, hash-chained evidence, and stops the ones that go wrong.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		// A bare or a mistyped command must not look like success.
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q%s", args[0], suggest(cmd, args[0]))
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", defaultDataDir(), "data folder (the server in it is used, or started for the command)")
	f.StringVar(&a.server, "server", "", "address of a server on another machine; needs --as with a certificate in people/ of --data")
	f.StringVar(&a.as, "as", "admin", "whose client certificate to use: NAME in people/ of the data folder")
	f.VarP(&a.format, "output", "o", "output: table, json or jsonl")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%s", err) })
	root.AddCommand(a.commands()...)
	wrapArgErrors(root)
	return root
}

// commands lists the commands in the order in which people meet them.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.serveCommand(), a.statusCommand(), a.doctorCommand(),
		a.tenantCommand(), a.instanceCommand(), a.enrollCommand(), a.keyCommand(), a.userCommand(),
		a.edgeCommand(), a.importCommand(), a.demoCommand(),
		a.psCommand(), a.searchCommand(), a.traceCommand(), a.whyCommand(),
		a.checkCommand(), a.rebuildCommand(), a.evidenceCommand(), a.policyCommand(),
	}
}

// wrapArgErrors turns cobra's argument errors into usage errors, for the exit code.
func wrapArgErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return fail(exitUsage, fmt.Errorf("%s: %w", c.CommandPath(), err), "nothing was changed", c.CommandPath()+" --help")
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgErrors(sub)
	}
}

// suggest names the commands that a mistyped one could have meant.
func suggest(cmd *cobra.Command, word string) string {
	names := cmd.SuggestionsFor(word)
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// defaultDataDir is CUSTODY_HOME, or .custody in the home folder.
func defaultDataDir() string {
	if dir := os.Getenv("CUSTODY_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".custody"
	}
	return filepath.Join(home, ".custody")
}

// group makes a command that only has subcommands.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q%s", cmd.CommandPath()+" "+args[0], suggest(cmd, args[0]))
			}
			_ = cmd.Help()
			return fail(exitUsage, errors.New(cmd.CommandPath()+" needs a subcommand"), "nothing was changed", cmd.CommandPath()+" --help")
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}
