package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// libraryEnv names the environment variable that overrides the search.
const libraryEnv = "CUSTODY_LIBCHDB"

const libraryName = "libchdb.so"

// ErrNotInstalled means that libchdb is not on this machine.
var ErrNotInstalled = errors.New(
	libraryName + " is not installed; run `make engine` (npm ci --prefix deploy/engine), or name it in " + libraryEnv)

// Find returns the path of libchdb.so: what CUSTODY_LIBCHDB names, else
// lib/libchdb.so beside the executable, else the npm package under
// deploy/engine in a folder above the executable or the working directory.
func Find() (string, error) {
	if path := os.Getenv(libraryEnv); path != "" {
		if !isFile(path) {
			return "", fmt.Errorf("%s=%s is not a file: %w", libraryEnv, path, ErrNotInstalled)
		}
		return path, nil
	}
	for _, pattern := range candidates() {
		matches, err := filepath.Glob(pattern)
		if err == nil && len(matches) > 0 && isFile(matches[0]) {
			return matches[0], nil
		}
	}
	return "", ErrNotInstalled
}

func candidates() []string {
	var out []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		out = append(out, filepath.Join(filepath.Dir(exe), "lib", libraryName))
		out = append(out, above(filepath.Dir(exe))...)
	}
	if cwd, err := os.Getwd(); err == nil {
		out = append(out, above(cwd)...)
	}
	return out
}

func above(dir string) []string {
	pkg := filepath.Join("deploy", "engine", "node_modules", "@chdb", "lib-"+platform()+"*", libraryName)
	var out []string
	for {
		out = append(out, filepath.Join(dir, pkg))
		parent := filepath.Dir(dir)
		if parent == dir {
			return out
		}
		dir = parent
	}
}

// platform is npm's name for this system: its cpu is called x64 there.
func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // the operator names the library
	return err == nil && info.Mode().IsRegular()
}
