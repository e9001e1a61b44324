package mcp

import "time"

// Hurry makes a server's end a matter of a moment.
func (p *Process) Hurry() { p.wait = 50 * time.Millisecond }
