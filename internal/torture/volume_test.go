package torture

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mountOptions keep the kernel from writing metadata by itself before the power goes: only what was synced is on
// the device.
const mountOptions = "loop,noatime,commit=600"

// volume is an ext4 file system in a file, whose power can be taken away.
type volume struct {
	t     testing.TB
	image string // the device
	path  string // where it is mounted
}

// newVolume makes and mounts a volume. Without the right to do so, the test is skipped.
func newVolume(t testing.TB, name, size string) *volume {
	t.Helper()
	mkfs := program(t, "mkfs.ext4", "e2fsprogs")
	asRoot(t, "mounts an ext4 volume in a file")
	dir := t.TempDir()
	v := &volume{t: t, image: filepath.Join(dir, name+".img"), path: filepath.Join(dir, name)}
	if err := os.Mkdir(v.path, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "truncate", "--size="+size, v.image)
	run(t, mkfs, "-q", v.image)
	if out, err := exec.Command("mount", "-o", mountOptions, v.image, v.path).CombinedOutput(); err != nil {
		t.Skipf("no loop devices here: mount: %s", out)
	}
	t.Cleanup(v.unmount)
	return v
}

// newTmpfs mounts a file system in memory, to fill it.
func newTmpfs(t testing.TB, size string) string {
	t.Helper()
	asRoot(t, "mounts a tmpfs")
	path := filepath.Join(t.TempDir(), "tmpfs")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { unmount(t, path) })
	return path
}

// program finds a program, or fails with the Debian package that has it.
func program(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, folder := range []string{"/usr/sbin", "/sbin"} { // not everybody's PATH has them
		if err != nil {
			path, err = exec.LookPath(filepath.Join(folder, name))
		}
	}
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", name, debian)
	}
	return path
}

// asRoot skips a test that only root can do.
func asRoot(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("this test %s: only root can", what)
	}
}

func run(t testing.TB, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
}

// cut takes the power away: what was not written to the device is gone. No process may use the volume any more.
func (v *volume) cut() {
	v.t.Helper()
	canary := filepath.Join(v.path, "canary")
	if err := os.WriteFile(canary, make([]byte, 1<<16), 0o600); err != nil {
		v.t.Fatal(err)
	}
	after := v.image + "+"
	run(v.t, "cp", "--sparse=always", v.image, after)
	v.unmount()
	if err := os.Rename(after, v.image); err != nil {
		v.t.Fatal(err)
	}
	run(v.t, "mount", "-o", mountOptions, v.image, v.path)
	if info, err := os.Stat(canary); err == nil && info.Size() > 0 {
		v.t.Fatal("the power cut took nothing: what was never synced is still there")
	}
	_ = os.Remove(canary)
}

func (v *volume) unmount() { unmount(v.t, v.path) }

func unmount(t testing.TB, path string) {
	t.Helper()
	if err := syscall.Unmount(path, 0); err != nil {
		t.Errorf("unmount %s: %v", path, err)
	}
}
