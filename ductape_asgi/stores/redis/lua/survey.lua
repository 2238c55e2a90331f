-- KEYS: head, log, deadlines.  ARGV: draw, where the walk is, how many to look at, now, realm, tag, '1' for identities.
-- A step of a walk through all sessions of a shard.  Answers where the walk is now ('0': at its end), then of each that
-- is of this realm and tag: id, subject, created_at, last_seen_at, '1' if live, sealed identity.  Some may come twice.
local walked = redis.call('ZSCAN', KEYS[3], ARGV[2], 'COUNT', ARGV[3])
local now, answer = tonumber(ARGV[4]), {ARGV[1], walked[1]}
for i = 1, #walked[2], 2 do
  local record = find(session_key(walked[2][i]))
  if record and record.realm == ARGV[5] and record.tag == ARGV[6] then
    table.insert(answer, record.session_id)
    table.insert(answer, record.subject)
    table.insert(answer, string.format('%.17g', record.created_at))
    table.insert(answer, string.format('%.17g', record.last_seen_at))
    table.insert(answer, live(record, now) and '1' or '0')
    table.insert(answer, ARGV[7] == '1' and record.identity or '')
  end
end
return answer
