package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/ledger"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store"
)

// Media types of https://c2sp.org/tlog-tiles.
const (
	typeCheckpoint = "text/plain; charset=utf-8"
	typeTile       = "application/octet-stream"
)

// Paths of checkpoints; the second is not in the specification.
const (
	pathCheckpoint = "checkpoint"
	pathConfirmed  = "confirmed"
)

// Limits of the server of logs: requests are short and answers at most 48 KiB, but a tile high up is hashed from many leaves.
const (
	logPatience  = time.Minute
	maxLogHeader = 16 << 10
)

// noResource answers for everything that a log does not have, or not yet.
var noResource = status.Error(codes.NotFound, "the log has no such resource")

// tiles are the tree hashes that were computed before.
type tiles struct {
	mu    sync.Mutex
	known map[string]*chain.TileNodes // by tenant
}

// nodes reads a tenant's committed tree.
func (n *Node) nodes(tenant string) chain.NodeReader {
	n.tiles.mu.Lock()
	defer n.tiles.mu.Unlock()
	if n.tiles.known == nil {
		n.tiles.known = map[string]*chain.TileNodes{}
	}
	if n.tiles.known[tenant] == nil {
		n.tiles.known[tenant] = chain.NewTileNodes(leafHashes{n.store, tenant})
	}
	return n.tiles.known[tenant]
}

// logService implements LogService.
type logService struct {
	apiv1.UnimplementedLogServiceServer
	node *Node
}

// ReadLog implements apiv1.LogServiceServer.
func (s *logService) ReadLog(ctx context.Context, r *apiv1.ReadLogRequest) (*apiv1.ReadLogResponse, error) {
	tenant := event.TenantID(r.GetTenant())
	switch r.GetPath() {
	case pathCheckpoint:
		c, err := s.node.ledger.LatestCheckpoint(ctx, tenant)
		return &apiv1.ReadLogResponse{Content: c.Note, MediaType: typeCheckpoint}, logError(err)
	case pathConfirmed:
		c, err := s.node.ledger.LastConfirmed(ctx, tenant)
		return &apiv1.ReadLogResponse{Content: c.Note, MediaType: typeCheckpoint}, logError(err)
	}
	tile, err := chain.ParseTile(r.GetPath())
	if err != nil {
		return nil, noResource
	}
	content, err := s.node.tile(ctx, tenant, tile)
	if err == nil && tile.Entries {
		err = s.node.leafReads.record(ctx, s.node, r)
	}
	if err != nil {
		return nil, logError(err)
	}
	return &apiv1.ReadLogResponse{Content: content, MediaType: typeTile, Immutable: true}, nil
}

func logError(err error) error {
	switch {
	case err == nil, errors.Is(err, noResource), errors.Is(err, notRecorded):
		return err
	case errors.Is(err, ledger.ErrNoTenant):
		return noResource
	}
	return status.Errorf(codes.Unavailable, "read the log: %v", err)
}

// tile returns the content of a tile or bundle, if the newest signed checkpoint covers it.
func (n *Node) tile(ctx context.Context, tenant event.TenantID, t chain.Tile) ([]byte, error) {
	signed, err := n.ledger.LatestCheckpoint(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if !t.Within(chain.Index(signed.Size)) {
		return nil, noResource
	}
	if t.Entries {
		return n.entries(ctx, tenant, t)
	}
	hashes, err := n.nodes(string(tenant)).ReadNodes(ctx, t.Nodes())
	if err != nil {
		return nil, err
	}
	content := make([]byte, 0, len(hashes)*chain.HashSize)
	for i := range hashes {
		content = append(content, hashes[i][:]...)
	}
	return content, nil
}

// entries are leaves, each after its length as a uint16.
func (n *Node) entries(ctx context.Context, tenant event.TenantID, t chain.Tile) ([]byte, error) {
	begin, end := t.Leaves()
	content := make([]byte, 0, t.Width*(2+chain.LeafSize))
	count := chain.Index(0)
	err := n.store.Leaves(ctx, string(tenant), uint64(begin), uint64(end), func(leaf []byte) {
		content = append(binary.BigEndian.AppendUint16(content, uint16(len(leaf))), leaf...)
		count++
	})
	if err == nil && count != end-begin {
		err = fmt.Errorf("%d of %d leaves: %w", count, end-begin, chain.ErrRange)
	}
	return content, err
}

// serveLog serves the logs over HTTPS, to people with a certificate, under /log/TENANT/.
func (n *Node) serveLog(guard *access.Guard) error {
	if n.cfg.LogListen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", n.cfg.LogListen)
	if err != nil {
		return fmt.Errorf("listen for readers of the logs: %w", err)
	}
	n.logs = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /log/{tenant}/{path...}", &logHandler{guard, &logService{node: n}})
	server := &http.Server{
		Handler: mux, TLSConfig: n.authority.ServerTLS(tls.RequireAndVerifyClientCert), ReadTimeout: handshakePatience,
		WriteTimeout: logPatience, IdleTimeout: keepaliveAfter, MaxHeaderBytes: maxLogHeader,
		ErrorLog: slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug),
	}
	n.later(server.Close)
	n.work.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- fmt.Errorf("serve the logs: %w", err)
		}
	})
	return nil
}

// logHandler answers over HTTP what LogService answers.
type logHandler struct {
	guard   *access.Guard
	service *logService
}

// ServeHTTP sends a resource, or an error that has the same bytes for a foreign tenant as for one that does not exist.
func (h *logHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Date"] = nil // two answers to the same question are the same
	request := &apiv1.ReadLogRequest{Tenant: r.PathValue("tenant"), Path: r.PathValue("path")}
	ctx, err := h.guard.Allow(r.Context(), r.TLS, apiv1.LogService_ReadLog_FullMethodName, request)
	var resource *apiv1.ReadLogResponse
	if err == nil {
		resource, err = h.service.ReadLog(ctx, request)
	}
	if err != nil {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, status.Convert(err).Message(), access.HTTPStatus(err))
		return
	}
	w.Header().Set("Content-Type", resource.GetMediaType())
	w.Header().Set("Cache-Control", caching(resource))
	_, _ = w.Write(resource.GetContent()) // a reader that is gone asks again
}

// caching lets only the reader's own cache keep what a tenant may see.
func caching(resource *apiv1.ReadLogResponse) string {
	if resource.GetImmutable() {
		return "private, max-age=31536000, immutable"
	}
	return "private, max-age=1"
}

// Timestamp implements evidence.AnchorReader.
func (r *logReader) Timestamp(context.Context) ([]byte, error) { return r.checkpoint.Token, nil }

// Anchors implements evidence.AnchorReader.
func (r *logReader) Anchors(ctx context.Context, begin, size chain.Index) ([]evidence.Anchor, error) {
	before, found, err := r.node.store.LastConfirmed(ctx, r.tenant, uint64(begin))
	if err != nil {
		return nil, err
	}
	list, err := r.node.store.Confirmed(ctx, r.tenant, uint64(begin)+1, uint64(size), evidence.MaxAnchors-1)
	if err != nil {
		return nil, err
	}
	if found {
		list = append([]store.Checkpoint{before}, list...)
	}
	var anchors []evidence.Anchor
	for _, c := range list {
		if same := c.Size == r.checkpoint.Size && bytes.Equal(c.Note, r.checkpoint.Note); !same {
			anchors = append(anchors, evidence.Anchor{Note: c.Note, Timestamp: c.Token})
		}
	}
	return anchors, nil
}
