-- Change what an event says of itself, or how it is sold. Nothing changes where nothing differs.
-- KEYS 1 info
-- ARGV 1 seed, 2 highest version seen, then field, value pairs ('' removes a field)
-- Reply {'described', version} | {'same', version} | {'counted', version}: a limit a buyer would begin or end while
--   tickets are sold, nothing done | {'no_event'} | {'went_back', version} | {'halted', version}
-- Invariant: `buyers` counts every ticket sold of an event with a limit a buyer, so a limit can't begin after the first.
local info = KEYS[1]
local seed, seen = ARGV[1], tonumber(ARGV[2])
local FIRST = 3
local call = redis.call
local meta = call('HMGET', info, 'seed', 'version', 'halted', 'sold', 'buyer_max')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local sold, limited = tonumber(meta[4] or 0) > 0, tonumber(meta[5] or 0) > 0
for i = FIRST, #ARGV, 2 do
  local limits = tonumber(ARGV[i + 1]) or 0
  if ARGV[i] == 'buyer_max' and sold and (limits > 0) ~= limited then return {'counted', version} end
end
local changed = false
local most = math.max(tonumber(call('HGET', info, 'quantity_max_ever') or 0), tonumber(call('HGET', info, 'quantity_max') or 10))
for i = FIRST, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  if (call('HGET', info, field) or '') ~= value then
    changed = true
    if value == '' then call('HDEL', info, field) else call('HSET', info, field, value) end
  end
end
if not changed then return {'same', version} end
-- A purchase of more than this was never sold by anybody, so purchase.lua's refusal of it hides none in a journal.
if most > tonumber(call('HGET', info, 'quantity_max') or 10) then call('HSET', info, 'quantity_max_ever', most) end
call('HINCRBY', info, 'revision', 1)
call('HINCRBY', info, 'epoch', 1)
return {'described', call('HINCRBY', info, 'version', 1)}
