-- everything of a tenant
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
ORDER BY idx
LIMIT 1000;
-- tenant = "acme"
-- head = 1000

-- the newest page
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
ORDER BY idx DESC
LIMIT 50;
-- tenant = "acme"
-- head = 1000

-- text that would break out
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
  AND run = {run:String}
ORDER BY idx
LIMIT 1000;
-- tenant = "acme' --"
-- head = 1000
-- run = "'; DROP TABLE events; --"

-- every condition
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
  AND idx >= {from:UInt64}
  AND idx < {to:UInt64}
  AND received >= fromUnixTimestamp64Nano({since:Int64}, 'UTC')
  AND received < fromUnixTimestamp64Nano({until:Int64}, 'UTC')
  AND instance = {instance:String}
  AND run = {run:String}
  AND tool = {tool:String}
  AND principal = {principal:String}
  AND memory_key = {memory_key:String}
  AND credential = {credential:String}
  AND object = {object:String}
  AND (destination = {destination:String} OR domain = {destination:String})
  AND has(subjects, {subject:String})
  AND endsWith(action, concat('.', {action:String}))
  AND kind = {kind:Int8}
  AND verdict = {verdict:Int8}
  AND decision = {decision:Int8}
  AND outcome = {outcome:Int8}
  AND consequence = {consequence:Int8}
  AND trust = {trust:Int8}
  AND has(fingerprints, toFixedString(unhex({fingerprint:String}), 8))
  AND subject_event = toFixedString(unhex({approves:String}), 16)
ORDER BY idx
LIMIT 1000;
-- tenant = "acme"
-- head = 1000
-- from = 3
-- to = 4
-- since = 1
-- until = 2
-- instance = "support-1"
-- run = "r1"
-- tool = "send_email"
-- principal = "p"
-- memory_key = "m"
-- credential = "c0ffee"
-- object = "o"
-- destination = "example.com"
-- subject = "s"
-- action = "started"
-- kind = 3
-- verdict = 2
-- decision = 2
-- outcome = 3
-- consequence = 3
-- trust = 2
-- fingerprint = "0102030405060708"
-- approves = "0a0b"

-- a whole action
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
  AND action = {action:String}
ORDER BY idx
LIMIT 1000;
-- tenant = "acme"
-- head = 1000
-- action = "execution.started"

-- leaves that are no event
SELECT idx, stream_seq, toUnixTimestamp64Nano(received), position, CAST(verdict, 'Int8'), CAST(kind, 'Int8'), CAST(producer, 'Int8'),
       instance, key_id, seq, id, if(kind = 'none', '', bytes)
FROM ${db}.events
WHERE tenant = {tenant:String}
  AND stream_seq <= {head:UInt64}
  AND kind = {kind:Int8}
ORDER BY idx
LIMIT 1000;
-- tenant = "acme"
-- head = 1000
-- kind = -1

