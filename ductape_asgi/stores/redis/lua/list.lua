-- KEYS: head, person.  ARGV: subject, now, the number that all of the page are below, limit.
-- Answers subject, count of all, '1' if there are more, then number and record of each on the page.
local now, before, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local records = sessions_of(KEYS[2])  -- those that can be read
local answer, count, shown = {ARGV[1], 0, '0'}, 0, 0
for i = #records, 1, -1 do
  local record = records[i]
  if live(record, now) then
    count = count + 1
    local number = redis.call('ZSCORE', KEYS[2], record.session_id)
    if tonumber(number) < before then
      shown = shown + 1
      if shown <= limit then
        table.insert(answer, number)
        table.insert(answer, encode(record))
      else
        answer[3] = '1'
      end
    end
  end
end
answer[2] = count
return answer
