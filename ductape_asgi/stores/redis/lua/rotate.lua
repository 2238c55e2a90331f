-- KEYS: head, log, deadlines, session.
-- ARGV: draw, channel, now, session id, generation, grace, access key's id, '1' if a client is given, client.
-- Decides as `rules.decide_rotation` does.
local now, generation, grace = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local record, raw = find(KEYS[4], ARGV[4])
if not record then return {ARGV[1], 'gone', ''} end
if not live(record, now) then return {ARGV[1], 'expired', raw} end
if generation >= record.generation then
  record.generation = generation + 1
  record.refresh_key = ARGV[7]
  if ARGV[8] == '1' then record.client = ARGV[9] end
  record.rotated_at = now
  record.last_seen_at = math.max(record.last_seen_at, now)  -- a clock that is behind must not end it sooner
  return {ARGV[1], 'rotated', put(KEYS[4], record)}
end
local unseen = record.seen_generation < record.generation
if generation == record.generation - 1 and (unseen or now < record.rotated_at + grace) then
  return {ARGV[1], 'same', raw}
end
finish(record)
return {ARGV[1], 'reused', raw}
