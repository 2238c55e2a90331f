-- KEYS: head, log, deadlines, session.  ARGV: draw, channel, now, session id, realm, tag or '' for any.
local record = find(KEYS[4])
if not record or record.realm ~= ARGV[5] or (ARGV[6] ~= '' and record.tag ~= ARGV[6]) then return {ARGV[1], 0} end
finish(record)
return {ARGV[1], live(record, tonumber(ARGV[3])) and 1 or 0}
