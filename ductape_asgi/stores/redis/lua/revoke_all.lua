-- KEYS: head, log, deadlines, person.  ARGV: draw, channel, now, subject, realm, tag, the session to spare or ''.
local now, spare = tonumber(ARGV[3]), ARGV[7]
local ending, count, spared = {}, 0, spare == ''
local records, damaged = sessions_of(KEYS[4])
for _, record in ipairs(records) do
  if record.session_id == spare then
    spared = live(record, now)
  else
    table.insert(ending, record)
    if live(record, now) then count = count + 1 end
  end
end
if not spared then return {ARGV[1], -1} end
if #ending + #damaged > 0 then append(ARGV[5], ARGV[6], '', ARGV[4], spare, 'ended') end
for _, record in ipairs(ending) do remove(record) end
for _, session_id in ipairs(damaged) do
  redis.call('DEL', session_key(session_id))
  redis.call('ZREM', KEYS[4], session_id)
  redis.call('ZREM', KEYS[3], session_id)
end
return {ARGV[1], count}
