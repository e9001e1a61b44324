-- LZ4 for the columns that are small with any codec. In a virtual machine each block that ZSTD compresses or decompresses costs some 10 µs
-- beside the work itself: docs/adr/010-store-schema.md. What is stored already changes with its next merge.

ALTER TABLE ${db}.events
    MODIFY COLUMN idx CODEC(DoubleDelta, LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4),
    MODIFY COLUMN position CODEC(Delta, LZ4),
    MODIFY COLUMN received CODEC(Delta, LZ4),
    MODIFY COLUMN instance CODEC(LZ4),
    MODIFY COLUMN key_id CODEC(LZ4),
    MODIFY COLUMN seq CODEC(Delta, LZ4),
    MODIFY COLUMN producer CODEC(LZ4),
    MODIFY COLUMN verdict CODEC(LZ4),
    MODIFY COLUMN kind CODEC(LZ4),
    MODIFY COLUMN action CODEC(LZ4),
    MODIFY COLUMN run CODEC(LZ4),
    MODIFY COLUMN run_seq CODEC(LZ4),
    MODIFY COLUMN principal CODEC(LZ4),
    MODIFY COLUMN on_behalf_of CODEC(LZ4),
    MODIFY COLUMN occurred_at CODEC(Delta, LZ4),
    MODIFY COLUMN time_basis CODEC(LZ4),
    MODIFY COLUMN trust CODEC(LZ4),
    MODIFY COLUMN cause_relations CODEC(LZ4),
    MODIFY COLUMN cause_bases CODEC(LZ4),
    MODIFY COLUMN subjects CODEC(LZ4),
    MODIFY COLUMN tool CODEC(LZ4),
    MODIFY COLUMN operation CODEC(LZ4),
    MODIFY COLUMN connector CODEC(LZ4),
    MODIFY COLUMN consequence CODEC(LZ4),
    MODIFY COLUMN destination CODEC(LZ4),
    MODIFY COLUMN attempt CODEC(LZ4),
    MODIFY COLUMN decision CODEC(LZ4),
    MODIFY COLUMN policy CODEC(LZ4),
    MODIFY COLUMN outcome CODEC(LZ4),
    MODIFY COLUMN cost CODEC(LZ4),
    MODIFY COLUMN cost_unit CODEC(LZ4),
    MODIFY COLUMN duration CODEC(LZ4),
    MODIFY COLUMN source CODEC(LZ4),
    MODIFY COLUMN resource CODEC(LZ4),
    MODIFY COLUMN domain CODEC(LZ4),
    MODIFY COLUMN data_class CODEC(LZ4),
    MODIFY COLUMN direction CODEC(LZ4),
    MODIFY COLUMN size CODEC(LZ4),
    MODIFY COLUMN memory_key CODEC(LZ4),
    MODIFY COLUMN label CODEC(LZ4),
    MODIFY COLUMN workflow CODEC(LZ4),
    MODIFY COLUMN model CODEC(LZ4),
    MODIFY COLUMN agent_version CODEC(LZ4),
    MODIFY COLUMN session CODEC(LZ4),
    MODIFY COLUMN role CODEC(LZ4),
    MODIFY COLUMN delegate CODEC(LZ4),
    MODIFY COLUMN credential CODEC(LZ4),
    MODIFY COLUMN approver CODEC(LZ4),
    MODIFY COLUMN subject_event CODEC(LZ4),
    MODIFY COLUMN object CODEC(LZ4);

ALTER TABLE ${db}.leaves
    MODIFY COLUMN idx CODEC(DoubleDelta, LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4),
    MODIFY COLUMN time CODEC(Delta, LZ4);

ALTER TABLE ${db}.batches
    MODIFY COLUMN idx CODEC(Delta, LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4),
    MODIFY COLUMN leaves CODEC(LZ4),
    MODIFY COLUMN message_time CODEC(Delta, LZ4),
    MODIFY COLUMN bytes CODEC(LZ4),
    MODIFY COLUMN subject CODEC(LZ4),
    MODIFY COLUMN producer CODEC(LZ4),
    MODIFY COLUMN instance CODEC(LZ4),
    MODIFY COLUMN key_id CODEC(LZ4),
    MODIFY COLUMN epoch_no CODEC(LZ4),
    MODIFY COLUMN epoch CODEC(LZ4),
    MODIFY COLUMN first_seq CODEC(Delta, LZ4),
    MODIFY COLUMN count CODEC(LZ4);

ALTER TABLE ${db}.openings
    MODIFY COLUMN idx CODEC(Delta, LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4),
    MODIFY COLUMN path CODEC(LZ4),
    MODIFY COLUMN subject CODEC(LZ4),
    MODIFY COLUMN generation CODEC(LZ4);

ALTER TABLE ${db}.heads
    MODIFY COLUMN block_first CODEC(Delta, LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4),
    MODIFY COLUMN size CODEC(Delta, LZ4),
    MODIFY COLUMN time CODEC(Delta, LZ4),
    MODIFY COLUMN stream_digest CODEC(LZ4);

ALTER TABLE ${db}.fold_state
    MODIFY COLUMN key CODEC(LZ4),
    MODIFY COLUMN stream_seq CODEC(Delta, LZ4);
