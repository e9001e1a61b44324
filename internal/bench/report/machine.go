package report

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// Machine is what was measured on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	OS     string `json:"os"`
	Go     string `json:"go"`
	Memory string `json:"memory,omitempty"`
}

// ThisMachine describes the machine as far as the system tells.
func ThisMachine() Machine {
	return Machine{
		CPU: fieldOf("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Memory: fieldOf("/proc/meminfo", "MemTotal"),
	}
}

// fieldOf is the value of the first line "name : value" of a file, or empty.
func fieldOf(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, found := strings.Cut(lines.Text(), ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
