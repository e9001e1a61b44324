//go:build unix

package engine

import "github.com/ebitengine/purego"

// bind loads the library at path and points each function at its symbol.
func bind(path string, symbols map[string]any) error {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return err
	}
	for name, fn := range symbols {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return err
		}
		purego.RegisterFunc(fn, symbol)
	}
	return nil
}
