-- A buyer asks for a receipt that is not stored: put it into the outbox, once.
-- KEYS 1 purchases, 2 receipts, 3 failed, 4 tries
-- ARGV 1 purchase id, 2 delay until it is due (ms)
-- Reply requested (it is due now, enqueue it) | pending (it was in the outbox) | failed | none (no purchase)
local purchases, receipts, failed, tries = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, delay = ARGV[1], tonumber(ARGV[2])
local call = redis.call
local record = call('HGET', purchases, id)
if not record or string.sub(record, 1, 1) == '-' then return 'none' end
if call('HEXISTS', failed, id) == 1 then return 'failed' end
call('HLEN', tries) -- an error before the first write, if it is no hash
local time = call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + delay)
if call('ZADD', receipts, 'NX', due, id) == 0 then return 'pending' end
call('HSET', tries, id, 0) -- so that what draws it knows that this is not the first time
return 'requested'
