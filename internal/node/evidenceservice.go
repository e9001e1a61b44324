package node

import (
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// evidenceService implements EvidenceService over package evidence, which may not link gRPC.
type evidenceService struct {
	apiv1.UnimplementedEvidenceServiceServer
	node *Node
}
