-- KEYS: session.  ARGV: session id, the generation of the token that is verified.
local record, raw = find(KEYS[1], ARGV[1])
local generation = tonumber(ARGV[2])
if record and record.seen_generation < generation and generation == record.generation then
  record.seen_generation = generation
  local marked = encode(record)
  -- Where it cannot be written (a replica, no memory) the record is answered as it stands.
  local written = redis.pcall('SET', KEYS[1], marked, 'KEEPTTL')
  if not written.err then raw = marked end
end
return {ARGV[1], raw or ''}
