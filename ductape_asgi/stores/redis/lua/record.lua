-- Every script answers its first argument first: what the caller compares, so that nobody is given an answer to
-- another question.
--
-- A session is one string: the format's number, ten numbers, the lengths of eight texts, and the texts.
-- As the fields of a hash it would take three times the memory.  `records.py` writes and reads the same.
local NUMBERS = {'created_at', 'last_seen_at', 'rotated_at', 'auth_time', 'ends_at', 'expires_in', 'idle_ttl',
                 'version', 'generation', 'seen_generation'}
local TEXTS = {'session_id', 'realm', 'tag', 'subject', 'refresh_key', 'identity', 'client', 'data'}
local FORMAT = '>B' .. string.rep('d', #NUMBERS) .. string.rep('I4', #TEXTS)

-- Nil for what is damaged, or in a format that is not known here.
local function decode(raw)
  if string.byte(raw) ~= 1 or #raw < struct.size(FORMAT) then return nil end
  local values = {struct.unpack(FORMAT, raw)}
  local record, place = {}, values[#values]
  for i, name in ipairs(NUMBERS) do record[name] = values[1 + i] end
  for i, name in ipairs(TEXTS) do
    local size = values[1 + #NUMBERS + i]
    record[name] = string.sub(raw, place, place + size - 1)
    place = place + size
  end
  return place == #raw + 1 and record or nil
end

local function encode(record)
  local values, texts = {1}, {}
  for i, name in ipairs(NUMBERS) do values[1 + i] = record[name] end
  for i, name in ipairs(TEXTS) do
    texts[i] = record[name]
    values[1 + #NUMBERS + i] = #record[name]
  end
  return struct.pack(FORMAT, unpack(values)) .. table.concat(texts)
end

-- A session and its text; the text alone where that cannot be read, or is another session's.
local function look_at(key, session_id)
  local raw = redis.call('GET', key)
  local record = raw and decode(raw)
  if record and record.session_id == session_id then return record, raw end
  return nil, raw
end

local function find(key, session_id)
  local record, raw = look_at(key, session_id)
  if raw and not record then error('a session that is damaged, of another id, or in a format that is not known here') end
  return record, raw
end

-- What a session changed to lives as long as it would have.
local function put(key, record)
  local raw = encode(record)
  redis.call('SET', key, raw, 'KEEPTTL')
  return raw
end

-- The end, whichever comes first; an idle one is late by what a last use may take to be written.
local function deadline(record)
  if record.idle_ttl < 0 then return record.ends_at end
  return math.min(record.ends_at, record.last_seen_at + record.idle_ttl + TOUCH_EVERY)
end

local function live(record, now)
  return now < deadline(record)
end
