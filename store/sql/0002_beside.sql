-- What stands beside the fold: these rows are not derived from the stream and are not part of a block.

-- Signed checkpoints (C2SP signed notes) of each log.
CREATE TABLE IF NOT EXISTS ${db}.checkpoints
(
    tenant  LowCardinality(String),
    size    UInt64 CODEC(Delta, ZSTD(1)),
    made_at DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    note    String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (tenant, size, made_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What was expired: events of a log below the index first_kept have no content any more.
CREATE TABLE IF NOT EXISTS ${db}.expiries
(
    tenant     LowCardinality(String),
    first_kept UInt64,
    before     DateTime64(9, 'UTC'),
    made_at    DateTime64(9, 'UTC')
)
ENGINE = MergeTree
ORDER BY (tenant, first_kept)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
