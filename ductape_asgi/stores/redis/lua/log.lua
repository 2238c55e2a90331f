-- KEYS[1] says where the log of a shard stands, "epoch sequence mark"; KEYS[2] is the log, a stream whose ids are the
-- sequence.  ARGV[1] was drawn for this call alone; ARGV[2] is the channel that wakes the readers.
--
-- Each entry bears a mark and names the mark before it.  After a failover that lost the tail, a sequence comes
-- again with another mark: who had read the lost one sees that the chain does not fit.

-- Without a head that can be read (a new store, or one that was flushed) another log begins.
local function stand()
  local head = redis.call('GET', KEYS[1])
  local epoch, sequence, mark = string.match(head or '', '^([%w_-]+) (%d+) ([%w_-]+)$')
  if epoch and #sequence < 16 then return epoch, tonumber(sequence), mark end
  redis.call('DEL', KEYS[2])
  return ARGV[1], 0, ARGV[1]
end

local function note(epoch, sequence, mark)
  local head = string.format('%s %.0f %s', epoch, sequence, mark)
  redis.call('SET', KEYS[1], head)
  return head
end

local function append(realm, tag, session_id, subject, spared, kind)
  -- Ending sessions must work when the memory is full: Redis refuses the first write of a script that needs
  -- memory, so the first is one that needs none.
  redis.call('PERSIST', KEYS[1])
  local epoch, sequence, mark = stand()
  sequence = sequence + 1
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', LOG_KEPT, string.format('%.0f-0', sequence), 'm', ARGV[1], 'p', mark,
             'r', realm, 't', tag, 's', session_id, 'u', subject, 'x', spared, 'k', kind)
  note(epoch, sequence, ARGV[1])
  -- A user without rights on the channel must not stop half-way: readers then find the entry by themselves.
  redis.pcall('PUBLISH', ARGV[2], '')
end

-- All keys of a shard begin alike.  Those of sessions, and of the people they belong to, are known only once a record
-- or an index was read, so they cannot be declared; they are in the same slot.
local function session_key(session_id)
  return string.sub(KEYS[1], 1, -5) .. 's:' .. session_id
end

local function people_key(record)
  return string.sub(KEYS[1], 1, -5) .. 'p:' .. record.realm .. '|' .. record.tag .. '|' .. record.subject
end

-- Take a session out of everything that knows it; KEYS[3] has all of the shard by their deadlines.
local function remove(record)
  redis.call('DEL', session_key(record.session_id))
  -- Not in reach only while the slot moves to another node; who reads the index next takes it out.
  redis.pcall('ZREM', people_key(record), record.session_id)
  redis.call('ZREM', KEYS[3], record.session_id)
end

-- The log first: what could not be told must not have happened.
local function finish(record)
  append(record.realm, record.tag, record.session_id, '', '', 'ended')
  remove(record)
end

-- End what cannot be read.  Whose it is only the caller knows; who reads the index next takes it out there.
local function finish_damaged(session_id, realm, tag)
  append(realm, tag, session_id, '', '', 'ended')
  redis.call('DEL', session_key(session_id))
  redis.call('ZREM', KEYS[3], session_id)
end

-- A person's sessions in the order of their start, and the ids of those that cannot be read.  Entries whose session
-- has expired by itself are taken out.
local function sessions_of(index)
  local records, damaged = {}, {}
  for _, session_id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local record, raw = look_at(session_key(session_id), session_id)
    if record then
      table.insert(records, record)
    elseif raw then
      table.insert(damaged, session_id)
    else
      redis.call('ZREM', index, session_id)
    end
  end
  return records, damaged
end
