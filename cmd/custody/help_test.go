package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand calls do with each command of the tree.
func everyCommand(t *testing.T, do func(t *testing.T, cmd *cobra.Command)) {
	t.Helper()
	root := (&app{out: &output{w: io.Discard}}).rootCommand()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "/"), func(t *testing.T) { do(t, cmd) })
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

func TestEveryHelpListsTheExitCodes(t *testing.T) {
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		var out strings.Builder
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		if code := execute(t.Context(), args, strings.NewReader(""), &out, io.Discard); code != exitOK {
			t.Fatalf("%v: exit code %d", args, code)
		}
		if !strings.HasSuffix(out.String(), exitHelp) {
			t.Errorf("%v does not end with the exit codes:\n%s", args, out.String())
		}
		if strings.Contains(out.String(), "(default )") {
			t.Errorf("%v shows a default that is none:\n%s", args, out.String())
		}
	})
}

// maxHelpLine is the longest line of text that we write in a help, in bytes: flags may be longer.
const maxHelpLine = 130

func TestHelpIsComplete(t *testing.T) {
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("short text: %q", cmd.Short)
		}
		for line := range strings.Lines(cmd.Long) {
			if len(line) > maxHelpLine && !strings.HasPrefix(cmd.CommandPath(), "custody completion") {
				t.Errorf("line of %d bytes: %s", len(line), line)
			}
		}
	})
}

// TestExamplesParse: every example in a help is a command line that the program accepts.
func TestExamplesParse(t *testing.T) {
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			checkCommandLines(t, line)
		}
	})
}

// TestDocumentedCommandsParse: the same for what the documents tell people to type.
func TestDocumentedCommandsParse(t *testing.T) {
	for _, name := range []string{"README.md", "docs/OPERATIONS.md", "docs/DATA.md"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			for line := range strings.Lines(string(text)) {
				checkCommandLines(t, line)
			}
		})
	}
}

// commandLine finds custody and its arguments, in a line of shell or between back quotes.
var commandLine = regexp.MustCompile("(?:^|[ `|/])custody( [a-z-][^`|<>#&;]*)")

func checkCommandLines(t *testing.T, line string) {
	t.Helper()
	code := !strings.Contains(line, "`") && (strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "custody ") || strings.HasPrefix(line, "bin/"))
	if !code && !strings.Contains(line, "`custody ") {
		return
	}
	if _, after, ok := strings.Cut(line, "custody custody"); ok { // a variable of the environment ends in the program's name
		line = "  custody" + after
	}
	for _, m := range commandLine.FindAllStringSubmatch(line, -1) {
		args := shellFields(m[1])
		if len(args) == 0 || strings.Contains(m[1], "…") {
			continue
		}
		if err := accepts(args, code); err != nil {
			t.Errorf("custody %s: %v", strings.Join(args, " "), err)
		}
	}
}

// shellFields splits words at spaces that are not in single quotes.
func shellFields(s string) (out []string) {
	quoted := false
	for _, f := range strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		out = append(out, strings.ReplaceAll(f, "'", ""))
	}
	return out
}

// accepts parses a command line without running it. Prose names commands without their arguments.
func accepts(args []string, whole bool) error {
	root := (&app{out: &output{w: io.Discard}}).rootCommand()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return unknownCommand(cmd, cmd.Flags().Arg(0))
	}
	if !whole {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
