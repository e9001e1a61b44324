//go:build !linux

package engine

// signalKeeper does nothing here: libchdb is only published for Linux.
type signalKeeper struct{}

func keepSignals() signalKeeper { return signalKeeper{} }

func (signalKeeper) restore() {}
