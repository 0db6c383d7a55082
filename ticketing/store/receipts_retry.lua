-- Put receipts that were given up into the outbox again, due now, with all their tries.
-- KEYS 1 receipts, 2 tries, 3 failed
-- ARGV 1 at most this many
-- Reply how many were put back
local receipts, tries, failed = KEYS[1], KEYS[2], KEYS[3]
local most = tonumber(ARGV[1])
local call = redis.call
if call('HLEN', failed) == 0 then return 0 end
local ids = call('HRANDFIELD', failed, most)
local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local due = {}
for i = 1, #ids do due[2 * i - 1], due[2 * i] = now, ids[i] end
call('ZADD', receipts, unpack(due))
call('HDEL', tries, unpack(ids))
call('HDEL', failed, unpack(ids))
return #ids
