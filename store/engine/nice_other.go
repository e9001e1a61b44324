//go:build !linux

package engine

// yieldMerges is for Linux, where threads have priorities of their own.
func (e *Engine) yieldMerges() {}
