-- The fold's tables. Every row is derived from one stream message (store/derive.go), and `custody check` derives it
-- again. All tables share three columns: tenant, idx (the leaf's index) and stream_seq (the message), and are sorted
-- by (tenant, idx), so that a range of a log is a range of each table. None is partitioned: a block is one part.
--
-- Why each codec, index and granularity: docs/adr/010-store-schema.md.

CREATE TABLE IF NOT EXISTS ${db}.events
(
    tenant        LowCardinality(String),
    idx           UInt64 CODEC(DoubleDelta, ZSTD(1)),
    stream_seq    UInt64 CODEC(Delta, ZSTD(1)),
    position      UInt32 CODEC(Delta, ZSTD(1)),
    received      DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    instance      LowCardinality(String) CODEC(ZSTD(1)),
    key_id        LowCardinality(FixedString(32)) CODEC(ZSTD(1)),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    producer      Enum8('' = 0, 'agent' = 1, 'gateway' = 2, 'importer' = 3, 'custody' = 4) CODEC(ZSTD(1)),
    verdict       Enum8('accepted' = 1, 'gap' = 2, 'late' = 3, 'key-invalid' = 4, 'held' = 5, 'equivocation' = 6, 'malformed' = 7) CODEC(ZSTD(1)),
    kind          Enum8('none' = -1, 'identity' = 1, 'data' = 2, 'execution' = 3, 'approval' = 4, 'system' = 5) CODEC(ZSTD(1)),
    action        LowCardinality(String) CODEC(ZSTD(1)),
    id            FixedString(16) CODEC(ZSTD(1)),
    run           String CODEC(ZSTD(1)),
    run_seq       UInt64 CODEC(ZSTD(1)),
    principal     LowCardinality(String) CODEC(ZSTD(1)),
    on_behalf_of  Array(LowCardinality(String)) CODEC(ZSTD(1)),
    occurred_at   DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    time_basis    Enum8('' = 0, 'observed' = 1, 'made' = 2) CODEC(ZSTD(1)),
    trust         Enum8('' = 0, 'trusted' = 1, 'untrusted' = 2, 'checked' = 3) CODEC(ZSTD(1)),
    causes        Array(FixedString(16)) CODEC(ZSTD(1)),
    cause_relations Array(Enum8('' = 0, 'input' = 1, 'retrieved' = 2, 'memory' = 3, 'decision' = 4, 'approval' = 5, 'retry' = 6, 'delegation' = 7)) CODEC(ZSTD(1)),
    cause_bases   Array(Enum8('' = 0, 'recorded' = 1, 'inferred' = 2)) CODEC(ZSTD(1)),
    subjects      Array(LowCardinality(String)) CODEC(ZSTD(1)),
    fingerprints  Array(FixedString(8)) CODEC(NONE),
    call          String CODEC(ZSTD(1)),
    tool          LowCardinality(String) CODEC(ZSTD(1)),
    operation     LowCardinality(String) CODEC(ZSTD(1)),
    connector     LowCardinality(String) CODEC(ZSTD(1)),
    consequence   Enum8('' = 0, 'low' = 1, 'moderate' = 2, 'high' = 3) CODEC(ZSTD(1)),
    destination   LowCardinality(String) CODEC(ZSTD(1)),
    attempt       UInt32 CODEC(ZSTD(1)),
    decision      Enum8('' = 0, 'allow' = 1, 'block' = 2, 'needs_approval' = 3) CODEC(ZSTD(1)),
    policy        LowCardinality(String) CODEC(ZSTD(1)),
    outcome       Enum8('' = 0, 'ok' = 1, 'error' = 2, 'denied' = 3, 'cancelled' = 4, 'timeout' = 5) CODEC(ZSTD(1)),
    cost          UInt64 CODEC(ZSTD(1)),
    cost_unit     LowCardinality(String) CODEC(ZSTD(1)),
    duration      Int64 CODEC(ZSTD(1)),
    source        LowCardinality(String) CODEC(ZSTD(1)),
    resource      String CODEC(ZSTD(1)),
    domain        LowCardinality(String) CODEC(ZSTD(1)),
    data_class    LowCardinality(String) CODEC(ZSTD(1)),
    direction     Enum8('' = 0, 'in' = 1, 'out' = 2) CODEC(ZSTD(1)),
    size          UInt64 CODEC(ZSTD(1)),
    memory_key    LowCardinality(String) CODEC(ZSTD(1)),
    label         LowCardinality(String) CODEC(ZSTD(1)),
    workflow      LowCardinality(String) CODEC(ZSTD(1)),
    model         LowCardinality(String) CODEC(ZSTD(1)),
    agent_version LowCardinality(String) CODEC(ZSTD(1)),
    session       String CODEC(ZSTD(1)),
    role          LowCardinality(String) CODEC(ZSTD(1)),
    delegate      LowCardinality(String) CODEC(ZSTD(1)),
    credential    LowCardinality(String) CODEC(ZSTD(1)),
    approver      LowCardinality(String) CODEC(ZSTD(1)),
    subject_event FixedString(16) CODEC(ZSTD(1)),
    object        LowCardinality(String) CODEC(ZSTD(1)),
    bytes         String CODEC(ZSTD(1)),

    INDEX by_stream_seq    stream_seq    TYPE minmax GRANULARITY 1,
    INDEX by_received      received      TYPE minmax GRANULARITY 1,
    INDEX by_id_range      id            TYPE minmax GRANULARITY 1,
    INDEX by_id            id            TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_run           run           TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_principal     principal     TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_cause         causes        TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_fingerprint   fingerprints  TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_subject_event subject_event TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${db}.leaves
(
    tenant     LowCardinality(String),
    idx        UInt64 CODEC(DoubleDelta, ZSTD(1)),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    time       DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    leaf       FixedString(183) CODEC(ZSTD(1)),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1,
    INDEX by_time       time       TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- idx is the first leaf of the message; statement and signature are empty for a message that is kept whole.
CREATE TABLE IF NOT EXISTS ${db}.batches
(
    tenant         LowCardinality(String),
    idx            UInt64 CODEC(Delta, ZSTD(1)),
    stream_seq     UInt64 CODEC(Delta, ZSTD(1)),
    leaves         UInt32 CODEC(ZSTD(1)),
    message_time   DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    bytes          UInt64 CODEC(ZSTD(1)),
    subject        LowCardinality(String) CODEC(ZSTD(1)),
    message_digest FixedString(32) CODEC(NONE),
    stream_digest  FixedString(32) CODEC(NONE),
    producer       Enum8('' = 0, 'agent' = 1, 'gateway' = 2, 'importer' = 3, 'custody' = 4) CODEC(ZSTD(1)),
    instance       LowCardinality(String) CODEC(ZSTD(1)),
    key_id         LowCardinality(FixedString(32)) CODEC(ZSTD(1)),
    epoch_no       UInt64 CODEC(ZSTD(1)),
    epoch          LowCardinality(FixedString(16)) CODEC(ZSTD(1)),
    first_seq      UInt64 CODEC(Delta, ZSTD(1)),
    count          UInt32 CODEC(ZSTD(1)),
    batch_digest   FixedString(32) CODEC(NONE),
    statement      String CODEC(ZSTD(1)),
    signature      String CODEC(NONE),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1,
    INDEX by_key        key_id     TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_first_seq  first_seq  TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${db}.openings
(
    tenant     LowCardinality(String),
    idx        UInt64 CODEC(Delta, ZSTD(1)),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    path       LowCardinality(String) CODEC(ZSTD(1)),
    subject    LowCardinality(String) CODEC(ZSTD(1)),
    generation UInt32 CODEC(ZSTD(1)),
    ciphertext String CODEC(NONE),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${db}.held
(
    tenant     LowCardinality(String),
    idx        UInt64,
    stream_seq UInt64,
    kind       UInt32,
    event_hash FixedString(32) CODEC(NONE),
    generation UInt32,
    detector   LowCardinality(String),
    ciphertext String CODEC(NONE),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${db}.keys
(
    tenant       LowCardinality(String),
    idx          UInt64,
    stream_seq   UInt64,
    action       Enum8('' = 0, 'enrolled' = 1, 'revoked' = 2, 'suspected' = 3),
    key_id       FixedString(32),
    public_key   String,
    instance     LowCardinality(String),
    producer     Enum8('' = 0, 'agent' = 1, 'gateway' = 2, 'importer' = 3, 'custody' = 4),
    replaces     String,
    suspect_from UInt64
)
ENGINE = MergeTree
ORDER BY (tenant, idx)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row for each tenant that a block touched; the block is the stream's messages block_first … stream_seq.
CREATE TABLE IF NOT EXISTS ${db}.heads
(
    tenant        LowCardinality(String),
    block_first   UInt64 CODEC(Delta, ZSTD(1)),
    stream_seq    UInt64 CODEC(Delta, ZSTD(1)),
    size          UInt64 CODEC(Delta, ZSTD(1)),
    root          FixedString(32) CODEC(NONE),
    leaf_hash     FixedString(32) CODEC(NONE),
    time          DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    stream_digest FixedString(32) CODEC(ZSTD(1)),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, stream_seq)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Entries of the fold's state; a newer row replaces an older one, and PruneState removes those replaced.
CREATE TABLE IF NOT EXISTS ${db}.fold_state
(
    tenant     LowCardinality(String),
    key        String CODEC(ZSTD(1)),
    stream_seq UInt64 CODEC(Delta, ZSTD(1)),
    value      String CODEC(ZSTD(1)),

    INDEX by_stream_seq stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (tenant, key, stream_seq)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
