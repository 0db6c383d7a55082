-- Receipts are stored: take them out of the outbox.
-- KEYS 1 purchases, 2 receipts, 3 tries, 4 failed
-- ARGV purchase ids
-- Reply the ids that hold no purchase (any more): their files must go
local purchases, receipts, tries, failed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local call = redis.call
call('ZREM', receipts, unpack(ARGV))
call('HDEL', tries, unpack(ARGV))
call('HDEL', failed, unpack(ARGV))
local records, gone = call('HMGET', purchases, unpack(ARGV)), {}
for i = 1, #ARGV do
  if not records[i] or string.sub(records[i], 1, 1) == '-' then gone[#gone + 1] = ARGV[i] end
end
return gone
