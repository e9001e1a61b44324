package store

import (
	"context"
	"fmt"
)

const selectOverlapping = `
SELECT batch_digest
FROM ${db}.batches
WHERE tenant = {tenant:String} AND key_id = unhex({key:String}) AND epoch_no = {epoch:UInt64}
  AND first_seq <= {last:UInt64} AND first_seq + count > {first:UInt64}
  AND statement != '' AND stream_seq <= {head:UInt64}
ORDER BY first_seq DESC
LIMIT 1`

// BatchOverlapping returns the digest of the committed batch with the greatest
// numbers among those of an emitter's epoch that hold any sequence number from
// first to last. Messages that were malformed or an equivocation do not count.
func (s *Store) BatchOverlapping(ctx context.Context, tenant string, keyID [32]byte, epochNo, first, last uint64) (digest [32]byte, ok bool, err error) {
	args := append(s.headArgs(), named("tenant", tenant), named("key", fmt.Sprintf("%x", keyID)), named("epoch", epochNo),
		named("first", first), named("last", last))
	var stored string
	err = s.each(ctx, selectOverlapping, args, func() { ok = copy(digest[:], stored) == len(digest) }, &stored)
	return digest, ok, wrap(err, "find batch of sequences %d to %d", first, last)
}
