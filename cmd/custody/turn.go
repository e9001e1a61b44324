package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A command that has started a server for itself holds the turn: the lock on a file of the data folder. Other commands wait
// for it instead of using that server, which ends with the command.
// A server that was started by custody serve goes first: while it starts, commands wait for it instead of starting another.
const (
	turnFile   = "command.lock"
	servedFile = "serving.lock"
)

const (
	// turnPatience bounds how long a command waits for another one.
	turnPatience = 30 * time.Second
	// turnPoll is how often it looks.
	turnPoll = 50 * time.Millisecond
	// turnSilence is how long it waits without saying so.
	turnSilence = 2 * time.Second
)

// errNotYours says that another command holds the turn.
var errNotYours = errors.New("another command has started a server on this data folder for itself")

// waitForTurn tries until there is nothing to wait for.
func (a *app) waitForTurn(ctx context.Context, try func() (retry bool, err error)) error {
	began, told := time.Now(), false
	for {
		retry, err := try()
		if !retry {
			return err
		}
		if time.Since(began) > turnPatience {
			if err == nil {
				err = errNotYours
			}
			return err
		}
		if !told && time.Since(began) > turnSilence {
			a.note("%s", a.waitsFor())
			told = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(turnPoll):
		}
	}
}

func (a *app) waitsFor() string {
	if a.isServed() && !a.isLent() {
		return fmt.Sprintf("waiting for the server on %s: it starts, or it hangs", a.data)
	}
	return fmt.Sprintf("waiting for another command that uses %s; custody serve lets several run at once", a.data)
}

// takeTurn takes the turn until the file is closed.
func (a *app) takeTurn() (*os.File, error) {
	file, err := a.lock(turnFile)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errNotYours
	}
	return file, err
}

// lock locks a file of the data folder until it is closed; the system also frees it when the process dies.
func (a *app) lock(name string) (*os.File, error) {
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	file, err := os.OpenFile(a.path(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// isLent reports whether another command holds the turn: the server that answers is its own.
func (a *app) isLent() bool { return isLocked(a.path(turnFile)) }

// isServed reports whether custody serve has been run: what it does not answer yet, it will.
func (a *app) isServed() bool { return isLocked(a.path(servedFile)) }

func isLocked(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
