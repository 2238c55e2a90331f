-- KEYS: session.  ARGV: session id, version, identity, client, data.
local record = find(KEYS[1], ARGV[1])
if record and record.version == tonumber(ARGV[2]) then
  record.identity, record.client, record.data = ARGV[3], ARGV[4], ARGV[5]
  put(KEYS[1], record)
end
return {ARGV[1]}
