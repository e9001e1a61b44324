package torture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// leastReceipt is less than a receipt takes on the wire, and more than what HTTP/2 sends besides.
const leastReceipt = 250 // bytes

// exchange is one batch of an agent: when it was sent, when its receipt had come, and its least size.
type exchange struct {
	sent, received time.Time
	size           int64
}

// TestReceiptFollowsSync traces the server: before each receipt leaves, the batch is written to the stream's file,
// and that file is synced. That the trace can tell is shown by a server that does not sync.
func TestReceiptFollowsSync(t *testing.T) {
	for name, careless := range map[string]bool{"synced": false, "never synced": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, t.TempDir(), func(c *serveConfig) { c.NoSync = careless })
			trace := filepath.Join(s.dir, "trace")
			s.wrapper = strace(t, trace)
			s.start()
			s.populate(1)
			a := newAgent(t, s.emitters[0].dir).connect()
			exchanges := a.exchange(30)
			s.stop()
			calls := readTrace(t, trace)
			for i, x := range exchanges {
				if wrong := x.unsynced(calls, ":"+port(a.id.Address)+"->"); (wrong != "") != careless {
					t.Errorf("batch %d: %q", i+1, wrong)
				}
			}
		})
	}
}

// exchange sends batches of several sizes, one after the other.
func (a *agent) exchange(n int) (all []exchange) {
	a.t.Helper()
	for i := range n {
		b := a.batch(fmt.Sprint("tool-", i), strings.Repeat("x", 50*i+1))
		x := exchange{sent: time.Now(), size: int64(len(b.GetStatement()))}
		a.accept(b)
		x.received = time.Now()
		all = append(all, x)
	}
	return all
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// unsynced says why a receipt must not have left; empty if all was well. from is how strace names the server's
// end of a connection.
func (x *exchange) unsynced(calls []call, from string) string {
	receipt := x.receipt(calls, from)
	if receipt == nil {
		return "the trace has no receipt"
	}
	var written *call
	for i := range calls {
		c := &calls[i]
		switch {
		case c.at.Before(x.sent) || c.end > receipt.begin || !isBlock(c.path):
		case written == nil && c.isWrite() && c.result >= x.size:
			written = c
		case written != nil && c.isSync() && c.path == written.path && c.begin > written.end:
			return ""
		}
	}
	return fmt.Sprintf("the receipt left (%s) without a sync before it; the batch was written: %v", receipt, written != nil)
}

// isBlock reports whether a file holds messages of the stream.
func isBlock(path string) bool {
	return strings.Contains(path, "/streams/EVENTS/msgs/") && strings.HasSuffix(path, ".blk")
}

// receipt is the last message of its size that the server had begun to send to the agent before the agent had
// its receipt.
func (x *exchange) receipt(calls []call, from string) (last *call) {
	for i := range calls {
		c := &calls[i]
		if c.isWrite() && strings.Contains(c.path, from) && c.result >= leastReceipt && !c.at.Before(x.sent) && c.at.Before(x.received) {
			last = c
		}
	}
	return last
}

// TestUnsyncedIsLost cuts every file of the server and of the agents back to what was synced, and throws the store
// away altogether: what has a receipt is still there.
func TestUnsyncedIsLost(t *testing.T) {
	rnd := random(t)
	s := newSite(t, t.TempDir())
	s.wrapper = strace(t, filepath.Join(s.dir, "server.trace"))
	s.start()
	s.populate(2)
	for _, e := range s.emitters {
		e.wrapper = strace(t, filepath.Join(s.dir, e.name+".trace"))
		e.start()
	}
	time.Sleep(mostLoad + time.Duration(rnd.Int64N(int64(mostLoad))))
	s.server.kill()
	for _, e := range s.emitters {
		e.kill()
		e.dir, e.wrapper = s.cutBack(e.name, e.dir), nil
	}
	s.config.Data, s.wrapper = s.cutBack("server", s.config.Data), nil
	if err := os.RemoveAll(filepath.Join(s.config.Data, "store")); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.rebuild()
	s.forgive()
	s.invariant()
	s.settled()
	s.opens()
}

// cutBack leaves of a folder what its process had synced, and returns where that is.
func (s *site) cutBack(name, dir string) (after string) {
	s.t.Helper()
	after = filepath.Join(s.dir, name+"-after")
	shorter := replay(readTrace(s.t, filepath.Join(s.dir, name+".trace"))).cutBack(s.t, dir, after)
	s.t.Logf("%d files of %s were cut back", shorter, name)
	return after
}

// rebuild fills an empty store from the stream, as `custody rebuild` does.
func (s *site) rebuild() {
	s.t.Helper()
	conn, err := node.Dial(s.t.Context(), node.DialConfig{DataDir: s.config.Data})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	call, err := apiv1.NewLedgerServiceClient(conn).Rebuild(s.t.Context(), &apiv1.RebuildRequest{})
	for err == nil {
		_, err = call.Recv()
	}
	if !errors.Is(err, io.EOF) {
		s.t.Fatalf("rebuild: %v", err)
	}
}
