package rules

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/agentcustody/custody/event"
)

// program is a rule's conditions, compiled once.
type program struct {
	index      int // of the rule in its set
	when       *condition
	steps      []*condition
	distinct   *condition
	of         *condition
	after      *condition
	until      *condition
	exceptions []*condition
	join       func(*facts) string // what By names, nil without one
	digest     [sha256.Size]byte
}

// condition is a condition or text expression, as a function where it can be one.
type condition struct {
	truth   truth
	text    text
	program cel.Program
}

// compiler compiles conditions. It grows with lists and macros, which later files and rules may use.
type compiler struct {
	env    *cel.Env
	macros map[string]string
	lists  map[string][]string
	err    error
}

func newCompiler() *compiler {
	var options []cel.EnvOption
	for _, v := range variables {
		options = append(options, cel.Variable(v.Name, celTypes[v.Type]))
	}
	env, err := cel.NewEnv(options...)
	return &compiler{env: env, macros: map[string]string{}, lists: map[string][]string{}, err: err}
}

// listName is a name of a list or macro: it may not look like a function or a field.
var listName = regexp.MustCompile(`^[a-z][a-z0-9_]{1,62}$`)

// names takes in the lists and macros of a file.
func (c *compiler) names(f *file) error {
	if c.err != nil {
		return c.err
	}
	var errs []error
	for name, items := range f.Lists {
		errs = append(errs, c.list(name, items))
	}
	for _, m := range f.Macros {
		errs = append(errs, c.macro(m))
	}
	return errors.Join(errs...)
}

func (c *compiler) free(name string) error {
	switch {
	case !listName.MatchString(name):
		return fmt.Errorf("%q: want [a-z][a-z0-9_]*", name)
	case variableNamed[name] != nil, c.macros[name] != "":
		return fmt.Errorf("%q: is taken", name)
	}
	return nil
}

// list declares a constant.
func (c *compiler) list(name string, items []string) error {
	if err := c.free(name); err != nil {
		return fmt.Errorf("list %w", err)
	}
	value := types.DefaultTypeAdapter.NativeToValue(items)
	env, err := c.env.Extend(cel.Constant(name, cel.ListType(cel.StringType), value))
	if err != nil {
		return fmt.Errorf("list %q: %w", name, err)
	}
	c.env, c.macros[name], c.lists[name] = env, "list", items
	return nil
}

// macro names a condition. It is used as name(), and stands there as if it were written out in parentheses.
func (c *compiler) macro(m macro) error {
	if err := c.free(m.Name); err != nil {
		return fmt.Errorf("macro %w", err)
	}
	condition, err := c.text(m.When)
	if err != nil {
		return fmt.Errorf("macro %q: %w", m.Name, err)
	}
	if _, err := c.condition(condition); err != nil {
		return fmt.Errorf("macro %q: %w", m.Name, err)
	}
	c.macros[m.Name] = "(" + condition + ")"
	return nil
}

// macroCall is a use of a macro, or a text in quotes.
var macroCall = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\b([a-z][a-z0-9_]*)\(\)`)

// text puts the macros of a condition in their place. What stands in quotes stays.
func (c *compiler) text(condition string) (string, error) {
	if len(condition) > MaxCondition {
		return "", fmt.Errorf("longer than %d bytes", MaxCondition)
	}
	var unknown error
	out := macroCall.ReplaceAllStringFunc(condition, func(found string) string {
		name, isCall := found[:max(0, len(found)-2)], found[len(found)-1] == ')'
		if !isCall {
			return found
		}
		if c.macros[name] == "" || c.macros[name] == "list" {
			unknown = fmt.Errorf("no macro is called %q", name)
		}
		return c.macros[name]
	})
	if len(out) > maxExpanded {
		return "", fmt.Errorf("longer than %d bytes with its macros", maxExpanded)
	}
	return out, unknown
}

// maxExpanded is the length of a condition with its macros: they may not grow by doubling.
const maxExpanded = 2 * MaxCondition

// compile compiles all conditions of a rule.
func (c *compiler) compile(r *Rule) error {
	var errs []error
	take := func(name, source string, into **condition, want *cel.Type) {
		if source == "" {
			return
		}
		compiled, err := c.source(source, want)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		*into = compiled
	}
	r.join = joins[r.by()]
	take("when", r.When, &r.when, cel.BoolType)
	if x := r.Sequence; x != nil {
		r.steps = make([]*condition, len(x.Steps))
		for i, step := range x.Steps {
			take(fmt.Sprintf("sequence.steps[%d]", i), step, &r.steps[i], cel.BoolType)
		}
	}
	if x := r.Threshold; x != nil {
		take("threshold.distinct", x.Distinct, &r.distinct, cel.StringType)
	}
	if x := r.Baseline; x != nil {
		take("baseline.of", x.Of, &r.of, cel.StringType)
	}
	if x := r.Deadline; x != nil {
		take("deadline.after", x.After, &r.after, cel.BoolType)
		take("deadline.until", x.Until, &r.until, cel.BoolType)
		if r.after == nil || r.until == nil {
			errs = append(errs, errors.New("deadline: wants after and until"))
		}
	}
	r.exceptions = make([]*condition, len(r.Exceptions))
	for i, x := range r.Exceptions {
		take("exceptions: "+x.Name, x.When, &r.exceptions[i], cel.BoolType)
	}
	return errors.Join(errs...)
}

func (c *compiler) source(source string, want *cel.Type) (*condition, error) {
	text, err := c.text(source)
	if err != nil {
		return nil, err
	}
	return c.typed(text, want)
}

func (c *compiler) condition(text string) (*condition, error) { return c.typed(text, cel.BoolType) }

func (c *compiler) typed(text string, want *cel.Type) (*condition, error) {
	ast, issues := c.env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if !ast.OutputType().IsExactType(want) {
		return nil, fmt.Errorf("is a %s, want a %s", ast.OutputType(), want)
	}
	compiled, options := new(condition), []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if cost, err := c.env.EstimateCost(ast, sizes{c.lists}); err != nil || cost.Max > MaxCost {
		options = append(options, cel.CostLimit(MaxCost)) // counting costs half of the time, so only where it may matter
	} else {
		compiled.truth, compiled.text = nativeOf(ast, c.lists)
	}
	var err error
	compiled.program, err = c.env.Program(ast, options...)
	return compiled, err
}

// sizes bounds what a condition may meet, for the estimate of its cost.
type sizes struct{ lists map[string][]string }

// EstimateSize is how long a variable can be, and how long a list is.
func (s sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	if n.Type() == cel.StringType {
		return &checker.SizeEstimate{Max: event.MaxText}
	}
	if path := n.Path(); len(path) == 1 && s.lists[path[0]] != nil {
		size := uint64(len(s.lists[path[0]]))
		return &checker.SizeEstimate{Min: size, Max: size}
	}
	return nil
}

// EstimateCallCost leaves functions to CEL's own estimate.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// holds evaluates a condition. One that fails, at its cost for example, does not hold; the engine counts it.
func (e *Engine) holds(c *condition, f *facts) bool {
	if c.truth != nil {
		return c.truth(f)
	}
	v, ok := e.value(c.program, f).(types.Bool)
	return ok && bool(v)
}

// text evaluates a text expression.
func (e *Engine) text(c *condition, f *facts) string {
	if c.text != nil {
		return c.text(f)
	}
	v, _ := e.value(c.program, f).(types.String)
	return string(v)
}

func (e *Engine) value(p cel.Program, f *facts) ref.Val {
	v, _, err := p.Eval(f)
	if err != nil {
		e.stats.Failed++
		return nil
	}
	return v
}
