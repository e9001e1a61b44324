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
	in  io.Reader
	out *output
	err io.Writer

	data   string // data folder of the server
	server string // address of a server on another machine
	as     string // person whose client certificate is used
	format outputFormat

	chosen bool // --data was given
	began  bool // the command line was right, and the command runs
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: &output{w: out}, err: errw, format: formatTable}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(a.out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	a.chosen = root.PersistentFlags().Changed("data")
	if err == nil {
		err = a.out.failed
	}
	if err == nil {
		return exitOK
	}
	return a.report(a.usage(cmd, err))
}

// usage completes an error about the command line: every error from before the command ran is one.
func (a *app) usage(cmd *cobra.Command, err error) error {
	var f *failure
	switch own := errors.As(err, &f); {
	case own && f.next != "", a.began && !own:
		return err
	}
	return fail(exitUsage, fmt.Errorf("%s: %w", cmd.CommandPath(), err), nothingChanged, cmd.CommandPath()+" --help")
}

// rootCommand builds the whole command tree.
func (a *app) rootCommand() *cobra.Command {
	cobra.EnableCommandSorting = false // they are in the order in which people meet them
	root := &cobra.Command{
		Use:           "custody",
		Short:         "A flight recorder with a brake for AI agents",
		Long:          "Custody records what AI agents do as signed, hash-chained evidence that verifies offline.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	a.globalFlags(root)
	for _, g := range a.groups() {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.SetHelpTemplate(helpTemplate)
	root.SetHelpCommand(helpCommand(root))
	root.InitDefaultCompletionCmd()
	completeGroup(root)
	a.finish(root)
	return root
}

// helpTemplate is cobra's, with the exit codes after it.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}
` + exitHelp

// defaultPerson is whom the first start of a server makes.
const defaultPerson = "admin"

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", defaultDataDir(), "data folder (the server in it is used, or started for the command)")
	f.StringVar(&a.server, "server", "", "address of a server on another machine; needs a certificate in people/ of --data")
	f.StringVar(&a.as, "as", defaultPerson, "whose client certificate to use: NAME in people/ of the data folder")
	f.VarP(&a.format, "output", "o", "output: table, json or jsonl")
	f.Lookup("data").DefValue = "~/.custody, or CUSTODY_HOME"
	a.offer(root, "output", words(formats))
}

// commandGroup is commands under one heading of the help.
type commandGroup struct {
	title    string
	commands []*cobra.Command
}

// groups lists the commands in the order in which people meet them.
func (a *app) groups() []commandGroup {
	return []commandGroup{
		{"Run", []*cobra.Command{a.serveCommand(), a.statusCommand(), a.doctorCommand(), a.demoCommand()}},
		{"Set up", []*cobra.Command{a.tenantCommand(), a.instanceCommand(), a.enrollCommand(), a.keyCommand(), a.userCommand()}},
		{"Record", []*cobra.Command{a.joinCommand(), a.edgeCommand(), a.mcpCommand(), a.importCommand()}},
		{"Look", []*cobra.Command{a.psCommand(), a.searchCommand(), a.traceCommand(), a.whyCommand(), a.contentCommand(), a.blastCommand()}},
		{"Recognise", []*cobra.Command{a.rulesCommand(), a.firingsCommand()}},
		{"Decide", []*cobra.Command{a.approvalsCommand(), a.approveCommand(), a.rejectCommand(), a.escalateCommand()}},
		{"Stop", []*cobra.Command{a.pauseCommand(), a.containCommand(), a.releaseCommand(), a.containedCommand(), a.armedCommand(), a.drillCommand(), a.leaseCommand()}},
		{"Follow up", []*cobra.Command{a.caseCommand(), a.notifyCommand()}},
		{"Prove", []*cobra.Command{a.checkCommand(), a.rebuildCommand(), a.evidenceCommand(), a.policyCommand(), a.logCommand(), a.witnessCommand(), a.reviewCommand()}},
		{"Keep and erase", []*cobra.Command{a.holdCommand(), a.eraseCommand(), a.expireCommand()}},
	}
}

// finish goes over the tree: it notes when a command begins, and completes the names of tenants.
func (a *app) finish(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			a.began, a.chosen = true, c.Root().PersistentFlags().Changed("data")
			if err := checkReason(c); err != nil {
				return err
			}
			return run(c, args)
		}
	}
	if cmd.Flags().Lookup("tenant") != nil {
		_ = cmd.RegisterFlagCompletionFunc("tenant", a.completeTenants)
	}
	for _, sub := range cmd.Commands() {
		a.finish(sub)
	}
}

// checkReason refuses an empty reason where one is required: it is for the record.
func checkReason(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("reason")
	if f != nil && f.Changed && strings.TrimSpace(f.Value.String()) == "" && f.Annotations[cobra.BashCompOneRequiredFlag] != nil {
		return usageError("--reason: must say why, for the record")
	}
	return nil
}

// helpCommand is help for a command; cobra's own takes an unknown one for success.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(cmd, rest[0])
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// completeGroup makes completion a group like the others; cobra's own takes an unknown shell for success.
func completeGroup(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, whichOne
		}
	}
}

func unknownCommand(cmd *cobra.Command, word string) error {
	return fail(exitUsage, fmt.Errorf("unknown command %q%s", cmd.CommandPath()+" "+word, suggest(cmd, word)), nothingChanged, cmd.CommandPath()+" --help")
}

// maxTypos is how many letters may be wrong in a command that is suggested.
const maxTypos = 2

// suggest names the commands that a mistyped one could have meant.
func suggest(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = maxTypos
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
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: whichOne}
	cmd.AddCommand(subs...)
	return cmd
}

// whichOne is what a group does by itself.
func whichOne(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return fail(exitUsage, fmt.Errorf("%s: which one? %s", cmd.CommandPath(), subcommands(cmd)), nothingChanged, cmd.CommandPath()+" --help")
}

func subcommands(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return strings.Join(names, ", ")
}
