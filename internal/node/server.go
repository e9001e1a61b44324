package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/cases"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/notify"
	"github.com/agentcustody/custody/ingest"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/query"
)

// Limits of the server.
const (
	// maxStreams bounds the calls on one connection: an edge daemon with many short-lived emitters.
	maxStreams = 1024
	// keepaliveAfter is when an idle connection is asked whether anybody is there: a sender that vanished
	// must not hold its stream for ever.
	keepaliveAfter = time.Minute
	// window is how much a sender may send before it is read: a batch in one go.
	window = 2 << 20
	// readBuffer is memory of each connection for as long as it lasts, and two thousand of a thousand agents are many. A read gives no more
	// than one TLS record, of 16 KiB.
	readBuffer = 16 << 10
	// handshakePatience bounds the time from connect to TLS.
	handshakePatience = 10 * time.Second
)

// openServer registers every service and serves them on the socket and, unless asked otherwise, on TCP.
func (n *Node) openServer(context.Context) error {
	listeners, err := n.listen()
	if err != nil {
		return err
	}
	guard := &access.Guard{Grants: n.admission, Recorder: n.system, Now: n.cfg.Now}
	if err := n.serveLog(guard); err != nil {
		return err
	}
	n.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(n.authority.ServerTLS(tls.VerifyClientCertIfGiven))),
		grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream),
		grpc.ForceServerCodecV2(ingest.NewCodec()), grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window), grpc.ReadBufferSize(readBuffer),
		grpc.MaxRecvMsgSize(ingest.MaxMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshakePatience),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveAfter}), grpc.WaitForHandlers(true),
	)
	n.register()
	n.later(n.stopServer)
	for _, listener := range listeners {
		n.work.Go(func() { n.serve(listener) })
	}
	return nil
}

// register is the list of services.
func (n *Node) register() {
	apiv1.RegisterIngestServiceServer(n.server, n.door)
	apiv1.RegisterEnrolServiceServer(n.server, ingest.NewEnrol(n.admin, n.door))
	apiv1.RegisterAdminServiceServer(n.server, n.admin)
	apiv1.RegisterRetentionServiceServer(n.server, n.retention)
	n.query.Brake = brake{n.brake, n.rules}
	apiv1.RegisterQueryServiceServer(n.server, n.query)
	apiv1.RegisterBlastServiceServer(n.server, query.Blasts{Service: n.query})
	apiv1.RegisterCaseServiceServer(n.server, &cases.Service{Engine: n.cases})
	apiv1.RegisterNotifyServiceServer(n.server, &notify.Service{Engine: n.notify})
	apiv1.RegisterLedgerServiceServer(n.server, &ledgerService{node: n})
	apiv1.RegisterLogServiceServer(n.server, &logService{node: n})
	apiv1.RegisterEvidenceServiceServer(n.server, &evidenceService{node: n})
	apiv1.RegisterControlServiceServer(n.server, contain.Control{Engine: n.brake})
	apiv1.RegisterFiringServiceServer(n.server, &live.Service{Engine: n.rules})
	apiv1.RegisterContainmentServiceServer(n.server, &contain.Service{Engine: n.brake})
	apiv1.RegisterArmedServiceServer(n.server, &contain.Readiness{Engine: n.brake})
	apiv1.RegisterApprovalServiceServer(n.server, &contain.Approvals{Engine: n.brake})
}

// listen opens the listeners and writes down what was chosen.
func (n *Node) listen() ([]net.Listener, error) {
	socket, err := listenSocket(n.folder.socket())
	if err != nil {
		return nil, err
	}
	n.later(func() error { _ = socket.Close(); return nil }) // the server may have closed it
	if n.cfg.SocketOnly {
		chosen, err := n.folder.load()
		n.address = chosen.Address
		setDefault(&n.address, n.cfg.Listen)
		return []net.Listener{socket}, err
	}
	tcp, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.later(func() error { _ = tcp.Close(); return nil })
	n.address = tcp.Addr().String()
	return []net.Listener{socket, tcp}, n.folder.save(choices{Address: n.advertised(), Domain: n.cfg.Domain})
}

func (n *Node) serve(listener net.Listener) {
	if err := n.server.Serve(listener); err != nil {
		n.failed <- fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
}

// stopServer lets no batch in any more, waits a while for calls on their way, and ends the others.
func (n *Node) stopServer() error {
	if n.aborted {
		n.server.Stop()
		return nil
	}
	n.door.Drain()
	n.brake.Drain()
	n.query.Drain()
	timer := time.AfterFunc(stopPatience, n.server.Stop)
	defer timer.Stop()
	n.server.GracefulStop()
	return nil
}
