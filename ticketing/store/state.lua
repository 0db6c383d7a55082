-- One event's description and counters at one moment. Writes nothing.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 failed, 6 leases, 7 tries
-- Reply {} where there is no such event; or {{field, value, ...}, pool, purchases and tombstones, receipts pending,
--   receipts failed, leased, when the purchase was sold that waits longest for its receipt (ms) or -1, now ms}
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local failed, leases, tries = KEYS[5], KEYS[6], KEYS[7]
local BEGUN_MOST = 200 -- looked at; more than workers have at once
local call = redis.call
local fields = call('HGETALL', info)
if #fields == 0 then return {} end
local leased = 0
for _, lease in ipairs(call('HVALS', leases)) do
  local _, commas = string.gsub(lease, ',', '')
  if string.sub(lease, -1) ~= '|' then leased = leased + commas + 1 end
end
-- The longest wait: of the next receipt that is due, and of those that a worker has begun (their due times moved on).
local waiting = call('ZRANGE', receipts, 0, 0)
if call('HLEN', tries) > 0 then
  for _, id in ipairs(call('HRANDFIELD', tries, BEGUN_MOST)) do waiting[#waiting + 1] = id end
end
local oldest = -1
if #waiting > 0 then
  for _, record in ipairs(call('HMGET', purchases, unpack(waiting))) do
    local sold_at = record and tonumber(string.match(record, '^[^|]*|(%d+)|'))
    if sold_at and (oldest < 0 or sold_at < oldest) then oldest = sold_at end
  end
end
local time = call('TIME')
return {fields, call('LLEN', tickets), call('HLEN', purchases), call('ZCARD', receipts), call('HLEN', failed), leased,
  oldest, time[1] * 1000 + math.floor(time[2] / 1000)}
