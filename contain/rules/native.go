package rules

import (
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// Most conditions compare variables with constants. What consists of nothing else is made a Go function, which allocates nothing
// and looks nothing up; everything else stays with CEL. The part of the language that is taken cannot fail, so both say the same
// of every event: there is no arithmetic, no conversion but that of a number to text, and every type is known when it is compiled.

// Conditions and expressions as Go functions of what is known of an event.
type (
	truth  func(*facts) bool
	text   func(*facts) string
	number func(*facts) int64
)

// native writes expressions of one syntax tree as functions; nil stands for what is not taken.
type native struct {
	ast   *celast.AST
	lists map[string][]string
}

// nativeOf makes a function of a compiled condition or text expression, as far as it is one of those.
func nativeOf(ast *cel.Ast, lists map[string][]string) (truth, text) {
	n := native{ast.NativeRep(), lists}
	if ast.OutputType().IsExactType(cel.StringType) {
		return nil, n.text(n.ast.Expr())
	}
	return n.truth(n.ast.Expr()), nil
}

// variable is how to get the variable that an expression names, nil if it is something else.
func variable[T any](x celast.Expr) func(*facts) T {
	if x.Kind() != celast.IdentKind || variableNamed[x.AsIdent()] == nil {
		return nil
	}
	get, _ := variableNamed[x.AsIdent()].get.(func(*facts) T)
	return get
}

func (n native) truth(x celast.Expr) truth {
	switch x.Kind() {
	case celast.IdentKind:
		return variable[bool](x)
	case celast.LiteralKind:
		if b, is := x.AsLiteral().(types.Bool); is {
			return func(*facts) bool { return bool(b) }
		}
	case celast.CallKind:
		return n.call(x.AsCall())
	}
	return nil
}

// call is a condition that is made of others, compares, or asks what a text has.
func (n native) call(c celast.CallExpr) truth {
	args := c.Args()
	switch name := c.FunctionName(); name {
	case operators.LogicalNot:
		return not(n.truth(args[0]))
	case operators.LogicalAnd, operators.LogicalOr:
		return n.join(name, args)
	case operators.Equals:
		return n.equal(args[0], args[1])
	case operators.NotEquals:
		return not(n.equal(args[0], args[1]))
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return order(name, n.number(args[0]), n.number(args[1]))
	case operators.In:
		return in(n.text(args[0]), n.list(args[1]))
	case "contains", "startsWith", "endsWith":
		if c.IsMemberFunction() {
			return has(name, n.text(c.Target()), n.text(args[0]))
		}
	}
	return nil
}

func not(of truth) truth {
	if of == nil {
		return nil
	}
	return func(f *facts) bool { return !of(f) }
}

// join is a conjunction or disjunction of all conditions.
func (n native) join(name string, args []celast.Expr) truth {
	all := make([]truth, len(args))
	for i, x := range args {
		if all[i] = n.truth(x); all[i] == nil {
			return nil
		}
	}
	a, b := all[0], all[1]
	switch {
	case len(all) > 2 && name == operators.LogicalAnd:
		return func(f *facts) bool { return !slices.ContainsFunc(all, func(t truth) bool { return !t(f) }) }
	case len(all) > 2:
		return func(f *facts) bool { return slices.ContainsFunc(all, func(t truth) bool { return t(f) }) }
	case name == operators.LogicalAnd:
		return func(f *facts) bool { return a(f) && b(f) }
	}
	return func(f *facts) bool { return a(f) || b(f) }
}

func (n native) equal(x, y celast.Expr) truth {
	if a, b := n.text(x), n.text(y); a != nil && b != nil {
		return func(f *facts) bool { return a(f) == b(f) }
	}
	if a, b := n.number(x), n.number(y); a != nil && b != nil {
		return func(f *facts) bool { return a(f) == b(f) }
	}
	if a, b := n.truth(x), n.truth(y); a != nil && b != nil {
		return func(f *facts) bool { return a(f) == b(f) }
	}
	return nil
}

func order(name string, a, b number) truth {
	switch {
	case a == nil || b == nil:
		return nil
	case name == operators.Less:
		return func(f *facts) bool { return a(f) < b(f) }
	case name == operators.LessEquals:
		return func(f *facts) bool { return a(f) <= b(f) }
	case name == operators.Greater:
		return func(f *facts) bool { return a(f) > b(f) }
	}
	return func(f *facts) bool { return a(f) >= b(f) }
}

func in(of text, items []string) truth {
	if of == nil || items == nil {
		return nil
	}
	return func(f *facts) bool { return slices.Contains(items, of(f)) }
}

func has(name string, of, part text) truth {
	switch {
	case of == nil || part == nil:
		return nil
	case name == "contains":
		return func(f *facts) bool { return strings.Contains(of(f), part(f)) }
	case name == "startsWith":
		return func(f *facts) bool { return strings.HasPrefix(of(f), part(f)) }
	}
	return func(f *facts) bool { return strings.HasSuffix(of(f), part(f)) }
}

func (n native) text(x celast.Expr) text {
	if get := variable[string](x); get != nil {
		return get
	}
	if x.Kind() == celast.LiteralKind {
		if s, is := x.AsLiteral().(types.String); is {
			return func(*facts) string { return string(s) }
		}
	}
	return n.inFigures(x)
}

// inFigures is a number as text.
func (n native) inFigures(x celast.Expr) text {
	if x.Kind() != celast.CallKind || x.AsCall().FunctionName() != overloads.TypeConvertString {
		return nil
	}
	of := n.number(x.AsCall().Args()[0])
	if of == nil {
		return nil
	}
	return func(f *facts) string { return strconv.FormatInt(of(f), 10) }
}

func (n native) number(x celast.Expr) number {
	if get := variable[int64](x); get != nil {
		return get
	}
	if x.Kind() == celast.LiteralKind {
		if i, is := x.AsLiteral().(types.Int); is {
			return func(*facts) int64 { return int64(i) }
		}
	}
	return nil
}

// list is a named list, or one that is written out in constant texts; nil if it is another or empty.
func (n native) list(x celast.Expr) (items []string) {
	switch x.Kind() {
	case celast.IdentKind:
		return n.lists[x.AsIdent()]
	case celast.ListKind:
		for _, element := range x.AsList().Elements() {
			s, is := element.AsLiteral().(types.String)
			if element.Kind() != celast.LiteralKind || !is {
				return nil
			}
			items = append(items, string(s))
		}
	}
	return items
}
