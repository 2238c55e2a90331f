-- KEYS: head, log, session or person.  ARGV: draw, channel, now, session id or '', subject or '', realm, tag, data.
local now, count = tonumber(ARGV[3]), 0
local records = ARGV[4] == '' and sessions_of(KEYS[3]) or {find(KEYS[3], ARGV[4])}
for _, record in ipairs(records) do
  if type(record) == 'table' and record.realm == ARGV[6] and record.tag == ARGV[7] and live(record, now) then
    if count == 0 then append(ARGV[6], ARGV[7], ARGV[4], ARGV[5], '', 'changed') end
    count = count + 1
    record.data = ARGV[8]
    record.version = record.version + 1
    put(session_key(record.session_id), record)
  end
end
return {ARGV[1], count}
