package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressEvery bounds how often a progress line is drawn.
const progressEvery = 100 * time.Millisecond

// progressLine is one line on standard error that is drawn again and again, only on a terminal.
type progressLine struct {
	w    io.Writer // nil when standard error is not a terminal
	name string
	last time.Time
}

func (a *app) progress(name string) *progressLine {
	p := &progressLine{name: name}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.w = a.err
	}
	return p
}

// show draws the line unless it was drawn a moment ago.
func (p *progressLine) show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s: %s", p.name, fmt.Sprintf(format, args...))
}

// clear makes room for other output.
func (p *progressLine) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// done removes the line for good.
func (p *progressLine) done() {
	p.clear()
	p.w = nil
}
