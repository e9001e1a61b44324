//go:build !linux

package engine

// yieldThreads is for Linux, where threads have priorities of their own.
func (e *Engine) yieldThreads() {}
