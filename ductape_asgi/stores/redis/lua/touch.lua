-- KEYS: sessions of one shard.  ARGV: draw, then when each was last used.
for i, key in ipairs(KEYS) do
  local record = look_at(key, string.match(key, '[^:]+$'))
  local at = tonumber(ARGV[i + 1])
  if record and record.last_seen_at < at then
    record.last_seen_at = at
    put(key, record)
  end
end
return {ARGV[1]}
