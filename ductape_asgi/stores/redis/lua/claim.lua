-- KEYS: the secrets of a realm.  ARGV: realm, then name and secret of each offer.
local answer = {ARGV[1]}
for i = 2, #ARGV, 2 do
  local kept = redis.call('HGET', KEYS[1], ARGV[i])
  if kept then
    table.insert(answer, ARGV[i])
    table.insert(answer, kept)
  end
end
if #answer > 1 then return answer end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return ARGV
