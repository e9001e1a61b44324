package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/contain/rules"
)

// rulesCommand is about the rules that recognise an agent going wrong.
func (a *app) rulesCommand() *cobra.Command {
	return group("rules", "Lint, test, explain rules, try them on history, and let them act",
		a.rulesList(), a.rulesModes(), a.rulesPromote(), a.rulesDemote(), a.rulesExplain(), a.rulesLint(), a.rulesTest(), a.rulesBacktest(), a.rulesEval())
}

// ruleFiles are the flags that name rules.
type ruleFiles struct{ files []string }

func (f *ruleFiles) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "file", nil, "rule file; the rules that come with Custody if absent (repeatable: later files use the lists and macros of earlier ones)")
}

// set reads and compiles the rules.
func (f *ruleFiles) set() (*rules.Set, error) {
	sources := [][]byte{rules.DefaultSource}
	if len(f.files) > 0 {
		sources = nil
	}
	for _, name := range f.files {
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, fail(exitNotFound, err, "nothing was run", "custody rules list")
		}
		sources = append(sources, source)
	}
	set, err := rules.Parse(sources...)
	if err != nil {
		return nil, fail(exitInput, err, "nothing was run", "custody rules explain --variables")
	}
	return set, nil
}

func (a *app) rulesList() *cobra.Command {
	var files ruleFiles
	cmd := &cobra.Command{
		Use: "list", Short: "List rules: what each looks at, and what it would do", Args: cobra.NoArgs,
		Example: "  custody rules list\n  custody rules list --file ours.yaml -o json",
		RunE: func(*cobra.Command, []string) error {
			set, err := files.set()
			if err != nil {
				return err
			}
			return a.listRules(set)
		},
	}
	files.register(cmd)
	return cmd
}

func (a *app) listRules(set *rules.Set) error {
	if a.format != formatTable {
		return printList(a, "rules", set.Rules, ruleJSON)
	}
	t := newGrid("rule", "severity", "action", "shows", "known as")
	for _, r := range set.Rules {
		t.row(r.ID, r.Severity, r.Action, strings.Join(r.Requirements, " "), strings.Join(slices.Concat(r.ASI, r.Atlas), " "))
	}
	t.print(a.out)
	return nil
}

func ruleJSON(r *rules.Rule) any {
	return object{
		{"rule", r.ID},
		{"version", r.Version},
		{"description", r.Description},
		{"severity", r.Severity},
		{"action", r.Action},
		{"reach", r.Reach},
		{"on", r.On},
		{"when", r.When},
		{"requirements", r.Requirements},
		{"asi", r.ASI},
		{"atlas", r.Atlas},
	}
}

func (a *app) rulesExplain() *cobra.Command {
	var files ruleFiles
	var variables bool
	cmd := &cobra.Command{
		Use: "explain [RULE]", Short: "Say what a rule means, or what conditions may use", Args: cobra.MaximumNArgs(1),
		Example: "  custody rules explain untrusted-value-in-act\n  custody rules explain --variables",
		RunE: func(_ *cobra.Command, args []string) error {
			if variables {
				return a.explainVariables()
			}
			if len(args) == 0 {
				return usageError("name a rule, or give --variables")
			}
			set, err := files.set()
			if err != nil {
				return err
			}
			r := set.Rule(args[0])
			if r == nil {
				return fail(exitNotFound, fmt.Errorf("no rule is called %s", plain(args[0], 0)), "nothing was run", "custody rules list")
			}
			return a.explainRule(r)
		},
	}
	files.register(cmd)
	cmd.Flags().BoolVar(&variables, "variables", false, "list what conditions may use")
	return cmd
}

func (a *app) explainVariables() error {
	if a.format != formatTable {
		return printList(a, "variables", rules.Variables(), func(v rules.Variable) any {
			return object{{"name", v.Name}, {"type", v.Type}, {"means", v.Doc}}
		})
	}
	t := newGrid("name", "type", "means")
	for _, v := range rules.Variables() {
		t.row(v.Name, v.Type, v.Doc)
	}
	t.print(a.out)
	return nil
}

func (a *app) explainRule(r *rules.Rule) error {
	if a.format != formatTable {
		return a.printJSON(ruleJSON(r))
	}
	fmt.Fprintf(a.out, "%s, version %d, %s\n%s\n\n", r.ID, r.Version, r.Severity, r.Description)
	fmt.Fprintf(a.out, "looks at   %s\nwhen       %s\n", strings.Join(r.On, ", "), r.When)
	switch {
	case r.Sequence != nil:
		fmt.Fprintf(a.out, "sequence   within %s, joined by %s:\n", time.Duration(r.Sequence.Within), r.Sequence.By)
		for i, step := range r.Sequence.Steps {
			fmt.Fprintf(a.out, "           %d. %s\n", i+1, step)
		}
	case r.Threshold != nil:
		fmt.Fprintf(a.out, "threshold  %d within %s, joined by %s%s\n", r.Threshold.Count, time.Duration(r.Threshold.Within), r.Threshold.By, distinct(r.Threshold))
	case r.Baseline != nil:
		fmt.Fprintf(a.out, "baseline   a new %s, joined by %s, after %d events%s\n", r.Baseline.Of, r.Baseline.By, r.Baseline.Learn, over(r.Baseline))
	case r.Deadline != nil:
		fmt.Fprintf(a.out, "deadline   after %s, until %s, within %s, joined by %s\n", r.Deadline.After, r.Deadline.Until, time.Duration(r.Deadline.Within), r.Deadline.By)
	}
	fmt.Fprintf(a.out, "action     %s\nshows      %s\n", r.Action, strings.Join(slices.Concat(r.Requirements, r.ASI, r.Atlas), ", "))
	for _, x := range r.Exceptions {
		fmt.Fprintf(a.out, "except     %s: %s, owned by %s, until %s\n", x.Name, x.When, x.Owner, time.Unix(0, int64(x.Expires)).UTC().Format(time.DateOnly))
	}
	for i := range r.Tests {
		fmt.Fprintf(a.out, "example    %s: %s\n", map[bool]string{true: "fires", false: "silent"}[r.Tests[i].Fires], r.Tests[i].Name)
	}
	return nil
}

func distinct(t *rules.Threshold) string {
	if t.Distinct == "" {
		return ""
	}
	return ", different by " + t.Distinct
}

func over(b *rules.Baseline) string {
	if b.Over == 0 {
		return ""
	}
	return " and " + time.Duration(b.Over).String()
}

func (a *app) rulesLint() *cobra.Command {
	var files ruleFiles
	cmd := &cobra.Command{
		Use: "lint", Short: "Read rule files and say all that is wrong with them", Args: cobra.NoArgs,
		Example: "  custody rules lint --file ours.yaml",
		RunE: func(*cobra.Command, []string) error {
			set, err := files.set()
			if err != nil {
				return err
			}
			if a.format != formatTable {
				return a.printJSON(object{{"rules", len(set.Rules)}})
			}
			fmt.Fprintf(a.out, "%d rules, nothing wrong\n", len(set.Rules))
			return nil
		},
	}
	files.register(cmd)
	return cmd
}

func (a *app) rulesTest() *cobra.Command {
	var files ruleFiles
	cmd := &cobra.Command{
		Use: "test [RULE...]", Short: "Run the examples that stand beside the rules",
		Example: "  custody rules test\n  custody rules test --file ours.yaml my-rule",
		RunE: func(_ *cobra.Command, args []string) error {
			set, err := files.set()
			if err != nil {
				return err
			}
			return a.testRules(set, args)
		},
	}
	files.register(cmd)
	return cmd
}

func (a *app) testRules(set *rules.Set, names []string) error {
	wanted := map[string]bool{}
	for _, name := range names {
		if set.Rule(name) == nil {
			return fail(exitNotFound, fmt.Errorf("no rule is called %s", plain(name, 0)), "nothing was run", "custody rules list")
		}
		wanted[name] = true
	}
	run, bare, wrong := 0, 0, []string(nil)
	for _, r := range set.Rules {
		if len(wanted) > 0 && !wanted[r.ID] {
			continue
		}
		if len(r.Tests) == 0 {
			bare++
		}
		for i := range r.Tests {
			run++
			if err := set.Run(r, &r.Tests[i]); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %s", r.ID, plain(err.Error(), 0)))
			}
		}
	}
	if a.format != formatTable {
		if err := a.printJSON(object{{"examples", run}, {"rules_without", bare}, {"failed", append([]string{}, wrong...)}}); err != nil {
			return err
		}
	} else {
		for _, w := range wrong {
			fmt.Fprintln(a.out, "FAILED", w)
		}
		fmt.Fprintf(a.out, "%d examples, %d failed, %d rules without any\n", run, len(wrong), bare)
	}
	if len(wrong) > 0 {
		return fail(exitProblems, errors.New("rules test: examples failed"), "nothing was changed", "custody rules explain RULE")
	}
	return nil
}

// printList prints a list as one JSON document, or a line for each.
func printList[T any](a *app, name string, all []T, one func(T) any) error {
	out := make([]any, len(all))
	for i, x := range all {
		if out[i] = one(x); a.format == formatJSONL {
			if err := a.printJSON(out[i]); err != nil {
				return err
			}
		}
	}
	if a.format == formatJSONL {
		return nil
	}
	return a.printJSON(object{{name, out}})
}
