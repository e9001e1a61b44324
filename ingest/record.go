package ingest

import (
	"context"

	"github.com/agentcustody/custody/access"
)

// RecordRead implements access.Recorder: a person's read is a leaf of the tenant's log.
func (s *System) RecordRead(ctx context.Context, read access.Read) (streamSeq uint64, err error) {
	return s.Record(ctx, read.Tenant, systemEvent(read.Event()))
}
