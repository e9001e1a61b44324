package torture

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
)

// almost is what is left free for a moment before a disk is full: less than anybody keeps in reserve, so that no
// merge of the engine is under way when the last byte goes.
const almost = 8 << 20

// fill leaves no byte free on the volume of a folder, and returns what gives the space back.
func fill(t testing.TB, dir string) (free func()) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil && freeBytes(t, dir) > almost {
		_, err = file.Write(make([]byte, 1<<20))
	}
	time.Sleep(time.Second)
	for err == nil {
		_, err = file.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

func freeBytes(t testing.TB, dir string) int64 {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Bavail) * stat.Bsize
}

// TestFullDisk fills the disk of the stream, or that of the store, under load, and gives the space back: the agents
// are pushed back, and everything arrives.
func TestFullDisk(t *testing.T) {
	tests := map[string]struct {
		size   string
		change func(c *serveConfig, disk string)
	}{
		"of the stream": {"192m", func(c *serveConfig, disk string) {
			c.Data, c.Store = filepath.Join(disk, "data"), "chdb://"+c.Data+"-store"
		}},
		"of the stream, with a reserve": {"192m", func(c *serveConfig, disk string) {
			c.Data, c.Store, c.DiskReserve = filepath.Join(disk, "data"), "chdb://"+c.Data+"-store", 16<<20
		}},
		"of the store": {"512m", func(c *serveConfig, disk string) {
			c.Store, c.MaxBacklog = "chdb://"+filepath.Join(disk, "store"), 200
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			disk := newTmpfs(t, test.size)
			s := newSite(t, t.TempDir(), func(c *serveConfig) { test.change(c, disk) })
			s.start()
			s.populate(2)
			for _, e := range s.emitters {
				e.start()
			}
			time.Sleep(mostLoad)
			free := fill(t, disk)
			await(t, func() bool { return s.status().GetCounters()["ingest_refused_pushback"] > 0 })
			free()
			s.settled()
			s.opens()
		})
	}
}

// TestFullDiskOfTheAgent fills the disk under the spool: Record says so, and what it took before and after arrives.
func TestFullDiskOfTheAgent(t *testing.T) {
	disk := newTmpfs(t, "64m")
	l := newLocal(t)
	folder := filepath.Join(disk, "agent")
	if err := copyTree(l.dir, folder); err != nil {
		t.Fatal(err)
	}
	l.dir = folder
	l.open()
	l.record(20)
	l.flush()
	l.Stop()
	free := fill(t, disk)
	err := errors.New("none")
	for i := 0; i < 10_000 && !errors.Is(err, syscall.ENOSPC); i++ { // the segment's last page has room
		err = l.try()
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk Record returned %v", err)
	}
	l.Start()
	free()
	l.record(20)
	l.audited()
}

// TestFullSpool: Record fails when so much waits as the agent has allowed, and takes more when it was delivered.
func TestFullSpool(t *testing.T) {
	l := newLocal(t)
	l.open(func(c *edge.Config) { c.SpoolMaxBytes, c.FullPolicy = 8<<20, edge.Error })
	l.record(20)
	l.flush()
	l.Stop()
	var err error
	for err == nil {
		err = l.try()
	}
	if !errors.Is(err, edge.ErrSpoolFull) {
		t.Fatalf("Record returned %v", err)
	}
	l.Start()
	l.flush()
	l.record(20)
	l.audited()
}

// TestServerThatStandsStill stops the server's process in the middle of everything and lets it go on.
func TestServerThatStandsStill(t *testing.T) {
	rnd := random(t)
	s := newSite(t, t.TempDir())
	s.start()
	s.populate(2)
	for _, e := range s.emitters {
		e.start()
	}
	for range rounds(3, 100) {
		time.Sleep(time.Duration(rnd.Int64N(int64(mostLoad))))
		s.server.signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Second))))
		s.server.signal(syscall.SIGCONT)
	}
	s.invariant()
	s.settled()
}
