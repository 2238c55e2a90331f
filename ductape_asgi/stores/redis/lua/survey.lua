-- KEYS: head, log, deadlines.  ARGV: draw, where the walk is, how many to look at, the last byte wanted of each record.
-- A step of a walk through all sessions of a shard.  Answers where the walk is now ('0': at its end), then the records,
-- or their beginnings.  Some may come twice.  Read by the caller: here that would take many times as long.
local walked = redis.call('ZSCAN', KEYS[3], ARGV[2], 'COUNT', ARGV[3])
local answer = {ARGV[1], walked[1]}
for i = 1, #walked[2], 2 do
  local raw = redis.call('GETRANGE', session_key(walked[2][i]), 0, ARGV[4])
  if raw ~= '' then answer[#answer + 1] = raw end
end
return answer
