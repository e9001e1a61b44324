-- Checkpoints that others have confirmed: how many cosignatures of witnesses the note carries, and an RFC 3161 response over it.
ALTER TABLE ${db}.checkpoints
    ADD COLUMN IF NOT EXISTS witnesses UInt16 DEFAULT 0,
    ADD COLUMN IF NOT EXISTS token     String DEFAULT '' CODEC(ZSTD(1));
