-- KEYS: head, log, deadlines, session.  ARGV: draw, channel, now, session id, realm, tag or '' for any.
local record, raw = look_at(KEYS[4], ARGV[4])
if raw and not record then
  finish_damaged(ARGV[4], ARGV[5], ARGV[6])
  return {ARGV[1], 1}
end
if not record or record.realm ~= ARGV[5] or (ARGV[6] ~= '' and record.tag ~= ARGV[6]) then return {ARGV[1], 0} end
finish(record)
return {ARGV[1], live(record, tonumber(ARGV[3])) and 1 or 0}
