-- One event's description and counters at one moment. Writes nothing.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 failed, 6 leases
-- Reply {} where there is no such event; or {{field, value, ...}, pool, purchases and tombstones, receipts pending,
--   receipts failed, leased, oldest due ms or -1, now ms}
local tickets, info, purchases, receipts, failed, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call = redis.call
local fields = call('HGETALL', info)
if #fields == 0 then return {} end
local leased = 0
for _, lease in ipairs(call('HVALS', leases)) do
  local _, commas = string.gsub(lease, ',', '')
  if string.sub(lease, -1) ~= '|' then leased = leased + commas + 1 end
end
local first = call('ZRANGE', receipts, 0, 0, 'WITHSCORES')
local time = call('TIME')
return {fields, call('LLEN', tickets), call('HLEN', purchases), call('ZCARD', receipts), call('HLEN', failed), leased,
  tonumber(first[2] or -1), time[1] * 1000 + math.floor(time[2] / 1000)}
