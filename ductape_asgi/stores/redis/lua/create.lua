-- KEYS: head, log, deadlines, session, person, counter, the shard's copy of the realm's secrets.
-- ARGV: draw, channel, now, record, life in ms, limit or -1, '1' to evict, the session to replace or '', the secret.
local now, limit, replaces = tonumber(ARGV[3]), tonumber(ARGV[6]), ARGV[8]
local new = decode(ARGV[4])
-- In a store that was emptied nobody would find the session under its subject.
if redis.call('HGET', KEYS[7], new.refresh_key) ~= ARGV[9] then return {ARGV[1], 'unproven'} end
if redis.call('EXISTS', KEYS[4]) == 1 then return {ARGV[1], 'taken'} end

local ending = {}
local replaced, raw
if replaces ~= '' then replaced, raw = look_at(session_key(replaces), replaces) end
if replaced and replaced.realm == new.realm then table.insert(ending, replaced) end
if limit >= 0 then
  local others = {}
  for _, record in ipairs((sessions_of(KEYS[5]))) do
    if live(record, now) and record.session_id ~= replaces then table.insert(others, record) end
  end
  local excess = #others + 1 - limit
  if excess > 0 and ARGV[7] ~= '1' then return {ARGV[1], 'full'} end
  for i = 1, excess do table.insert(ending, others[i]) end
end

local answer = {ARGV[1], 'created'}
if raw and not replaced then finish_damaged(replaces, new.realm, '') end
for _, record in ipairs(ending) do
  finish(record)
  if live(record, now) then table.insert(answer, record.session_id) end
end
redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[5], redis.call('INCR', KEYS[6]), new.session_id)
-- An index lives as long as the last of its sessions.
if redis.call('PTTL', KEYS[5]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[5], ARGV[5]) end
redis.call('ZADD', KEYS[3], deadline(new), new.session_id)
return answer
