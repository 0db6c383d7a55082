-- Hand out receipts that are overdue, and move each forward by a distance that grows with its tries.
-- KEYS 1 receipts, 2 tries
-- ARGV 1 at most this many, 2 base delay (ms)
-- Reply {id, tries, id, tries, ...}, the most overdue first
local receipts, tries = KEYS[1], KEYS[2]
local most, base = tonumber(ARGV[1]), tonumber(ARGV[2])
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = call('ZRANGEBYSCORE', receipts, '-inf', string.format('%.0f', now), 'LIMIT', 0, most)
if #ids == 0 then return {} end
local counts, reply, moved = call('HMGET', tries, unpack(ids)), {}, {}
for i = 1, #ids do
  local try = tonumber(counts[i] or 0)
  reply[2 * i - 1], reply[2 * i] = ids[i], try
  moved[2 * i - 1], moved[2 * i] = string.format('%.0f', now + base * 2 ^ try), ids[i]
end
call('ZADD', receipts, unpack(moved))
return reply
