-- KEYS: head, log, deadlines.  ARGV: draw, channel, before, limit.  Answers how many were removed, and looked at.
local before, removed = tonumber(ARGV[3]), 0
local due = redis.call('ZRANGE', KEYS[3], '-inf', ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[4])
for _, session_id in ipairs(due) do
  local record = find(session_key(session_id))
  if not record then
    redis.call('ZREM', KEYS[3], session_id)  -- it has expired by itself
  elseif live(record, before) then
    redis.call('ZADD', KEYS[3], deadline(record), session_id)  -- it was used since
  else
    remove(record)
    removed = removed + 1
  end
end
return {ARGV[1], removed, #due}
