package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// graphHelp says how to read a drawing.
const graphHelp = "Each event stands under the latest of its causes: ──▶ if the program recorded the cause, ╌╌▷ if an importer inferred\n" +
	"it, ┈┈▷ if one wrote the memory that the other read and neither says so. A further cause is named behind the event,\n" +
	"unless it stands on the way down to it. ● is an event without a cause here."

// graph is a causal graph drawn as a tree.
type graph struct {
	rows   []*apiv1.EventRow // in index order
	byID   map[event.ID]*vertex
	roots  []*vertex
	scope  scope
	header string
}

// vertex is one row in the tree. Of rows that share an id, the first has the edges.
type vertex struct {
	row      *apiv1.EventRow
	id       event.ID
	causes   []*apiv1.Edge
	edge     *apiv1.Edge // to the parent; nil for a root
	parent   *vertex
	children []*vertex
	copyOf   *vertex
}

func newGraph(rows []*apiv1.EventRow, edges []*apiv1.Edge) *graph {
	g := &graph{rows: rows, byID: map[event.ID]*vertex{}}
	nodes := make([]*vertex, len(rows))
	for i, r := range rows {
		nodes[i] = g.add(r)
	}
	for _, e := range edges {
		if n := g.byID[event.ID(e.GetEffect())]; n != nil {
			n.causes = append(n.causes, e)
		}
	}
	for _, n := range nodes {
		g.hang(n)
	}
	g.setScope()
	return g
}

// add makes the node of a row. What is held or expired has no id that we could know.
func (g *graph) add(r *apiv1.EventRow) *vertex {
	n := &vertex{row: r}
	if ev := parsed(r); ev != nil {
		n.id = idOf(ev)
		n.copyOf = g.byID[n.id]
		if n.copyOf == nil {
			g.byID[n.id] = n
		}
	}
	return n
}

// hang puts a node under the latest cause that came before it. A cause at or after its effect cannot be drawn above it and is
// only named, so that a forged circle still prints.
func (g *graph) hang(n *vertex) {
	for _, e := range n.causes {
		c := g.byID[event.ID(e.GetCause())]
		if c == nil || c.row.GetIndex() >= n.row.GetIndex() {
			continue
		}
		if n.parent == nil || c.row.GetIndex() > n.parent.row.GetIndex() {
			n.parent, n.edge = c, e
		}
	}
	if n.parent == nil {
		g.roots = append(g.roots, n)
		return
	}
	n.parent.children = append(n.parent.children, n)
}

// setScope takes the instance and the run out of the lines if they are the same in all.
func (g *graph) setScope() {
	g.scope = whole
	first := ""
	for i, r := range g.rows {
		ev := parsed(r)
		if ev == nil {
			return
		}
		of := fmt.Sprintf("%s/%s, run %s", ev.GetTenant(), ev.GetInstance(), dash(ev.GetRun()))
		if i == 0 {
			first = of
		}
		if of != first {
			return
		}
	}
	g.scope, g.header = inRun, first
}

// list prints events outside a drawing, under a heading.
func (g *graph) list(w io.Writer, heading string, ids ...event.ID) {
	fmt.Fprintln(w, heading)
	for _, id := range ids {
		if n, ok := g.byID[id]; ok {
			fmt.Fprintf(w, "  %-5s  %s\n", at(n.row), describe(n.row, whole))
		}
	}
}

// untrusted are the events by which untrusted content came in, without those named already.
func (g *graph) untrusted(named [][]byte) (ids []event.ID) {
	known := idsOf(named)
	for _, r := range g.rows {
		ev := parsed(r)
		if ev.GetData() == nil || ev.GetTrust() != eventv1.Trust_TRUST_UNTRUSTED {
			continue
		}
		if id := idOf(ev); !slices.Contains(known, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (g *graph) print(w io.Writer) {
	if g.header != "" {
		fmt.Fprintln(w, g.header)
	}
	for _, n := range g.roots {
		g.chain(w, n, "● ", "", 0)
	}
}

// maxIndent bounds how deep branches are drawn: what is deeper stands in the same column.
const maxIndent = 16

// chain prints a node and what it led to: an only child goes on in the same column, so that a long path stays readable.
// before is what stands left of the node itself, indent what stands left of what follows.
func (g *graph) chain(w io.Writer, n *vertex, before, indent string, depth int) {
	for {
		fmt.Fprintf(w, "%s%-5s  %s%s\n", before, at(n.row), describe(n.row, g.scope), g.remarks(n))
		printOpened(w, n.row, indent+strings.Repeat(" ", 11))
		if len(n.children) != 1 {
			break
		}
		n = n.children[0]
		before = indent + n.arrow()
	}
	g.branches(w, n.children, indent, depth)
}

func (g *graph) branches(w io.Writer, children []*vertex, indent string, depth int) {
	for i, c := range children {
		corner, line := "├", "│   "
		if i == len(children)-1 {
			corner, line = "└", "    "
		}
		if depth >= maxIndent {
			line = ""
		}
		g.chain(w, c, indent+corner+c.arrow(), indent+line, depth+1)
	}
}

// arrow shows the basis of the edge that a node hangs on.
func (n *vertex) arrow() string {
	switch {
	case n.edge.GetDerived():
		return "┈┈▷ "
	case n.edge.GetBasis() == eventv1.CauseBasis_CAUSE_BASIS_INFERRED:
		return "╌╌▷ "
	}
	return "──▶ "
}

// maxOthers is how many further causes a line names.
const maxOthers = 6

// remarks names the causes that do not stand on the way down to a node.
func (g *graph) remarks(n *vertex) string {
	if n.copyOf != nil {
		return "  (has the id of " + at(n.copyOf.row) + ")"
	}
	var names []string
	for _, e := range n.causes {
		if c := g.byID[event.ID(e.GetCause())]; c == nil || e != n.edge && !n.under(c) {
			names = append(names, causeName(c, e))
		}
	}
	if len(names) == 0 {
		return ""
	}
	if extra := len(names) - maxOthers; extra > 0 {
		names = append(names[:maxOthers], fmt.Sprintf("and %d more", extra))
	}
	return "  (also from " + strings.Join(names, ", ") + ")"
}

// under reports whether a node stands below another one. Parents have smaller indices, so it ends.
func (n *vertex) under(c *vertex) bool {
	for p := n.parent; p != nil && p.row.GetIndex() >= c.row.GetIndex(); p = p.parent {
		if p == c {
			return true
		}
	}
	return false
}

func causeName(c *vertex, e *apiv1.Edge) string {
	if c == nil {
		return event.ID(e.GetCause()).String() + ", NOT EVIDENCED"
	}
	name := at(c.row) + " " + event.Relations.Name(e.GetRelation())
	if e.GetBasis() == eventv1.CauseBasis_CAUSE_BASIS_INFERRED {
		name += " inferred"
	}
	if e.GetDerived() {
		name += " derived"
	}
	return name
}

// graphJSON is a graph for programs.
func graphJSON(rows []*apiv1.EventRow, edges []*apiv1.Edge, cut bool) object {
	list := make([]any, len(edges))
	for i, e := range edges {
		list[i] = object{
			{"cause", event.ID(e.GetCause()).String()},
			{"effect", event.ID(e.GetEffect()).String()},
			{"relation", event.Relations.Name(e.GetRelation())},
			{"basis", event.CauseBases.Name(e.GetBasis())},
			{"derived", e.GetDerived()},
		}
	}
	return object{{"rows", rowsJSON(rows)}, {"edges", list}, {"cut", cut}}
}

func idsOf(ids [][]byte) []event.ID {
	out := make([]event.ID, len(ids))
	for i, id := range ids {
		out[i] = event.ID(id)
	}
	return out
}

func idsJSON(ids [][]byte) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = event.ID(id).String()
	}
	return out
}
