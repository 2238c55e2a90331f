-- After how many seconds what cannot be read is looked at again; a newer version may have written it.
local PURGED_AGAIN = 3600
-- KEYS: head, log, deadlines.  ARGV: draw, channel, before, limit.  Answers how many were removed, and looked at.
local before, removed = tonumber(ARGV[3]), 0
local due = redis.call('ZRANGE', KEYS[3], '-inf', ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[4])
for _, session_id in ipairs(due) do
  local record, raw = look_at(session_key(session_id), session_id)
  if not raw then
    redis.call('ZREM', KEYS[3], session_id)  -- it has expired by itself
  elseif not record then
    redis.call('ZADD', KEYS[3], before + PURGED_AGAIN, session_id)  -- it cannot be read, and must not be in the way
  elseif live(record, before) then
    redis.call('ZADD', KEYS[3], deadline(record), session_id)  -- it was used since
  else
    remove(record)
    removed = removed + 1
  end
end
return {ARGV[1], removed, #due}
