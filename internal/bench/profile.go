package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/agentcustody/custody/internal/bench/system"
)

// profiled runs do, and writes what this process and the server spend their time on for as long as it takes, if -profile is given.
func (b *bench) profiled(name string, s *system.Server, d time.Duration, do func() error) error {
	if b.profile == "" {
		return do()
	}
	if err := os.MkdirAll(b.profile, 0o750); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	own, err := os.Create(filepath.Join(b.profile, name+"-emitters.pprof"))
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer own.Close()
	if err := pprof.StartCPUProfile(own); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	server := make(chan error, 1)
	go func() { server <- b.profileServer(name, s, d) }()
	return errors.Join(do(), <-server)
}

// profileServer has the server profile itself for the given time, and then say what it has allocated.
func (b *bench) profileServer(name string, s *system.Server, d time.Duration) error {
	port, err := os.ReadFile(s.Path(profilePort))
	if err != nil {
		return fmt.Errorf("profile server: %w", err)
	}
	base := "http://127.0.0.1:" + string(port) + "/debug/pprof/"
	if err := fetch(fmt.Sprintf("%sprofile?seconds=%d", base, int(d.Seconds())), filepath.Join(b.profile, name+"-server.pprof")); err != nil {
		return fmt.Errorf("profile server: %w", err)
	}
	if err := fetch(base+"allocs", filepath.Join(b.profile, name+"-server-allocs.pprof")); err != nil {
		return fmt.Errorf("profile server: %w", err)
	}
	return nil
}

func fetch(url, path string) (err error) {
	response, err := http.Get(url) //nolint:gosec,noctx // this machine
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
