package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
)

// edit is text that is put into a file at an offset; edits that end something come before those that begin something.
type edit struct {
	at     int
	ends   bool
	text   string
	mutant int // the edit is left out together with its mutant
}

// finder finds the mutants of one file and writes what makes them.
type finder struct {
	*subject
	*source
	fset  *token.FileSet
	info  *types.Info
	seen  map[string]int // names in this file
	scope string         // the function
	stack []ast.Node
}

// find walks the file. Edits go into the mutants as they are met, so that those of inner nodes lie within those of outer ones.
func (f *finder) find() {
	ast.Inspect(f.file, func(n ast.Node) bool {
		if n == nil {
			f.stack = f.stack[:len(f.stack)-1]
			return true
		}
		f.stack = append(f.stack, n)
		if d, ok := n.(*ast.FuncDecl); ok {
			f.scope = funcName(d)
		}
		f.node(n)
		return true
	})
}

// funcName is a function's name with its receiver's type.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if g, ok := t.(*ast.IndexExpr); ok {
		t = g.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "." + d.Name.Name
	}
	return d.Name.Name
}

// node adds the mutants of one node.
func (f *finder) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.condition(n.Cond, "if", true)
	case *ast.ForStmt:
		if n.Cond != nil {
			f.condition(n.Cond, "for", false)
		}
	case *ast.SwitchStmt:
		f.cases(n)
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.ReturnStmt:
		f.returns(n)
	case *ast.ExprStmt, *ast.AssignStmt, *ast.IncDecStmt, *ast.BranchStmt:
		f.statement(n.(ast.Stmt))
	}
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

// code is the source of a node, in one line.
func (f *finder) code(n ast.Node) string { return f.between(n.Pos(), n.End()) }

func (f *finder) between(from, to token.Pos) string {
	return string(f.text[f.offset(from):f.offset(to)])
}

// short is source as a name shows it.
func short(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	const most = 70
	if r := []rune(code); len(r) > most {
		code = string(r[:most]) + "…"
	}
	return code
}

// add makes a mutant and returns the expression that says whether it is awake.
func (f *finder) add(at ast.Node, change string) (m *mutant, awake string) {
	position := f.fset.Position(at.Pos())
	scope := fmt.Sprintf("%s/%s %s", f.subject.path, filepath.Base(f.source.path), f.scope)
	name := scope + ": " + change
	if f.seen[name]++; f.seen[name] > 1 {
		name = fmt.Sprintf("%s #%d", name, f.seen[name])
	}
	m = &mutant{
		id: len(f.mutants) + 1, name: name, scope: scope, file: f.source.path, line: position.Line,
		where: fmt.Sprintf("%s/%s:%d", f.subject.path, filepath.Base(f.source.path), position.Line),
	}
	f.mutants = append(f.mutants, m)
	return m, fmt.Sprintf("mutant_(%d)", m.id)
}

// around puts text before and after a node for a mutant.
func (f *finder) around(n ast.Node, m *mutant, before, after string) {
	f.source.edits = append(f.source.edits, edit{f.offset(n.Pos()), false, before, m.id}, edit{f.offset(n.End()), true, after, m.id})
}

// constant says whether an expression is one, which no mutant can change at run time.
func (f *finder) constant(e ast.Expr) bool { return f.info.Types[e].Value != nil }

// condition makes what is asked always so and never so.
func (f *finder) condition(e ast.Expr, word string, both bool) {
	if f.constant(e) {
		return
	}
	what := word + " " + short(f.code(e))
	if both {
		f.always(e, what)
	}
	f.never(e, what)
}

// always makes an expression true, whatever it is; it is asked all the same.
func (f *finder) always(e ast.Expr, what string) { f.call(e, "mutantTrue_", what+" → true") }

// never makes it false.
func (f *finder) never(e ast.Expr, what string) { f.call(e, "mutantFalse_", what+" → false") }

// call hands an expression to a function of the helper, which knows whether another value would differ from it.
func (f *finder) call(e ast.Expr, function, change string) {
	m, _ := f.add(e, change)
	f.around(e, m, fmt.Sprintf("%s(%d, (", function, m.id), "))")
}

// cases lets no case of a switch without a tag be chosen, one at a time.
func (f *finder) cases(n *ast.SwitchStmt) {
	if n.Tag != nil {
		return
	}
	for _, s := range n.Body.List {
		for _, e := range s.(*ast.CaseClause).List {
			f.condition(e, "case", false)
		}
	}
}

// swaps are the operators that a mutant has for others.
var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND, token.XOR: token.AND, token.AND_NOT: token.AND,
}

// assigned are the same with an assignment.
var assigned = map[token.Token]token.Token{
	token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN, token.MUL_ASSIGN: token.QUO_ASSIGN, token.QUO_ASSIGN: token.MUL_ASSIGN,
	token.SHL_ASSIGN: token.SHR_ASSIGN, token.SHR_ASSIGN: token.SHL_ASSIGN, token.AND_ASSIGN: token.OR_ASSIGN, token.OR_ASSIGN: token.AND_ASSIGN,
	token.XOR_ASSIGN: token.AND_ASSIGN,
}

func (f *finder) binary(n *ast.BinaryExpr) {
	if f.constant(n) {
		return
	}
	switch n.Op {
	case token.LAND, token.LOR:
		f.operand(n, n.X)
		f.operand(n, n.Y)
	case token.EQL, token.NEQ:
		if !f.asked() { // a condition that is always so or never so shows the same
			f.swap(n)
		}
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		f.edge(n)
	default:
		f.swap(n)
	}
}

// edge asks the same, but the other way where both sides are equal: the operator becomes a comma between two arguments.
func (f *finder) edge(n *ast.BinaryExpr) {
	m, _ := f.add(n, short(f.code(n))+" → "+swaps[n.Op].String())
	function := map[token.Token]string{token.LSS: "LSS", token.LEQ: "LEQ", token.GTR: "GTR", token.GEQ: "GEQ"}[n.Op]
	f.around(n, m, fmt.Sprintf("mutant%s_(%d, ", function, m.id), ")")
	from := f.offset(n.OpPos)
	f.source.edits = append(f.source.edits, edit{from, false, ", /*", m.id}, edit{from + len(n.Op.String()), true, "*/", m.id})
}

// asked says whether the node on top of the stack is itself a condition or part of one.
func (f *finder) asked() bool {
	n := f.stack[len(f.stack)-1]
	switch parent := f.stack[len(f.stack)-2].(type) {
	case *ast.IfStmt:
		return parent.Cond == n
	case *ast.ForStmt:
		return parent.Cond == n
	case *ast.CaseClause:
		return true
	case *ast.BinaryExpr:
		return parent.Op == token.LAND || parent.Op == token.LOR
	}
	return false
}

// operand takes one side's say away.
func (f *finder) operand(n *ast.BinaryExpr, side ast.Expr) {
	what := short(f.code(n)) + ": " + short(f.code(side))
	if n.Op == token.LAND {
		f.always(side, what)
	} else {
		f.never(side, what)
	}
}

// swap puts another operator in the place of one.
func (f *finder) swap(n *ast.BinaryExpr) {
	op, ok := swaps[n.Op]
	t := f.info.Types[n].Type
	spelled, named := f.spell(t)
	if !ok || !named || isText(t) {
		return
	}
	mutated := f.between(n.X.Pos(), n.OpPos) + op.String() + string(f.text[f.offset(n.OpPos)+len(n.Op.String()):f.offset(n.End())])
	if strings.Contains(mutated, "//") {
		return
	}
	m, awake := f.add(n, short(f.code(n))+" → "+op.String())
	mutated = strings.ReplaceAll(mutated, "\n", " ")
	f.around(n, m, "(func() "+spelled+" { if "+awake+" { return "+mutated+" }; return ", " }())")
}

func isText(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsString != 0
}

// spell is a type as this file can write it.
func (f *finder) spell(t types.Type) (string, bool) {
	ok := true
	text := types.TypeString(types.Default(t), func(p *types.Package) string {
		if p.Path() == f.pkg {
			return ""
		}
		imported := slices.ContainsFunc(f.file.Imports, func(i *ast.ImportSpec) bool {
			return i.Name == nil && strings.Trim(i.Path.Value, `"`) == p.Path()
		})
		ok = ok && imported
		return p.Name()
	})
	return text, ok
}

// listedIn says whether the node on top of the stack stands in a list of statements.
func (f *finder) listedIn() bool {
	switch f.stack[len(f.stack)-2].(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
		return true
	}
	return false
}

// returns gives back something else.
func (f *finder) returns(n *ast.ReturnStmt) {
	if !f.listedIn() {
		return
	}
	for i, e := range n.Results {
		for _, other := range f.others(e) {
			f.result(n, i, other)
		}
	}
}

// result gives another value in the place of one. A constant has the type that the function says, so that the whole statement is
// there twice.
func (f *finder) result(n *ast.ReturnStmt, i int, other string) {
	e := n.Results[i]
	change := "return " + short(f.code(e)) + " → " + other
	if !f.constant(e) {
		function := map[string]string{"nil": "mutantNil_", "true": "mutantTrue_", "false": "mutantFalse_", "0": "mutantZero_"}[other]
		f.call(e, function, change)
		return
	}
	list := make([]string, len(n.Results))
	for j, r := range n.Results {
		list[j] = f.code(r)
	}
	list[i] = other
	text := strings.Join(list, ", ")
	if strings.Contains(text, "//") {
		return
	}
	m, awake := f.add(n, change)
	f.source.edits = append(f.source.edits, edit{f.offset(n.Pos()), false, "if " + awake + " { return " + strings.ReplaceAll(text, "\n", " ") + " }; ", m.id})
}

// others are what may be returned in the place of a result.
func (f *finder) others(e ast.Expr) []string {
	t := f.info.Types[e].Type
	b, basic := t.Underlying().(*types.Basic)
	switch code := f.code(e); {
	case types.Identical(t, types.Universe.Lookup("error").Type()) && code != "nil":
		return []string{"nil"}
	case !basic:
		return nil
	case b.Info()&types.IsBoolean != 0:
		return slices.DeleteFunc([]string{"true", "false"}, func(s string) bool { return s == code })
	case b.Info()&types.IsInteger != 0 && code != "0":
		return []string{"0"}
	}
	return nil
}

// statement leaves one out.
func (f *finder) statement(n ast.Stmt) {
	if !f.listedIn() {
		return
	}
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return
		}
		f.assign(n)
	case *ast.BranchStmt:
		if n.Tok != token.CONTINUE {
			return
		}
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && f.between(call.Fun.Pos(), call.Fun.End()) == "panic" {
			return
		}
	}
	m, awake := f.add(n, "without "+short(f.code(n)))
	f.around(n, m, "if !"+awake+" { ", " }")
}

// assign swaps the operator of an assignment.
func (f *finder) assign(n *ast.AssignStmt) {
	op, ok := assigned[n.Tok]
	if !ok || isText(f.info.Types[n.Lhs[0]].Type) || bytes.ContainsRune(f.text[f.offset(n.Pos()):f.offset(n.End())], '\n') {
		return
	}
	m, awake := f.add(n, short(f.code(n))+" → "+op.String())
	f.around(n, m, "if "+awake+" { "+f.code(n.Lhs[0])+" "+op.String()+" "+f.code(n.Rhs[0])+" } else { ", " }")
}
