-- Take the store as it is for the truth about a halted event, because an operator decided so.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 leases, 5 put_back
-- ARGV 1 seed ('' = the store knows none), 2 version that the operator saw it halted at, 3 highest version that the
--      journals of this host say, 4 how far the version rises, 5 nonce of the new tokens
-- Reply {'not_halted', version} | {'moved_on', version}: another seed or version than the operator saw |
--   {'remains', version, purchases, tickets in pool and leases}: the store knows no seed, and so what remains of the
--   event can't be told to be its own; these three did nothing; or
--   {'accepted', version, tickets back in the pool, leases emptied}
-- Invariant: no lease, settle or accept that was sent before finds what it expects: every record has a new token, and
-- the version is one that nobody has seen. Leases are emptied before the pool is filled, so that no ticket is held twice
-- wherever this ends, and the mark goes last. Which process has put back what is forgotten; what could not be is lost, and
-- stays listed. `accepted` tells every process of it, one that sells an older seed too.
local tickets, info, purchases, leases, put_back = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seed, expected, seen, rise, nonce = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local PUSH_AT_ONCE = 1000 -- Lua unpacks some thousands at most
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'epoch')
local version = tonumber(meta[2] or 0)
if meta[3] ~= '1' then return {'not_halted', version} end
if (meta[1] or '') ~= seed or version ~= expected then return {'moved_on', version} end
local raised = string.format('%.0f', math.max(version, seen) + rise)
assert(tonumber(meta[4] or 0), 'the epoch is no number')

local pool, records = call('LLEN', tickets), call('HLEN', purchases)
local flat = call('HGETALL', leases)
local emptied, back = {}, {}
for i = 1, #flat, 2 do
  local bar = assert(string.find(flat[i + 1], '|', 1, true), 'a lease is damaged')
  for id in string.gmatch(string.sub(flat[i + 1], bar + 1), '[^,]+') do back[#back + 1] = id end
  emptied[i], emptied[i + 1] = flat[i], 'accepted-' .. raised .. '-' .. nonce .. '|'
end
local ended, lost = {}, {}
for _, field in ipairs(call('HKEYS', put_back)) do
  if string.sub(field, 1, 5) ~= 'lost:' then ended[#ended + 1] = field end
  if string.sub(field, 1, 9) == 'conflict:' then
    lost[#lost + 1] = 'lost:' .. string.sub(field, 10)
    lost[#lost + 1] = call('HGET', put_back, field)
  end
end
if seed == '' and (pool > 0 or records > 0 or #back > 0) then return {'remains', version, records, pool + #back} end

-- The first write: an error after it loses tickets, and leaves the event halted.
for i = 1, #emptied, PUSH_AT_ONCE do
  call('HSET', leases, unpack(emptied, i, math.min(i + PUSH_AT_ONCE - 1, #emptied)))
end
for i = 1, #back, PUSH_AT_ONCE do
  call('RPUSH', tickets, unpack(back, i, math.min(i + PUSH_AT_ONCE - 1, #back)))
end
for i = 1, #lost, PUSH_AT_ONCE do
  call('HSET', put_back, unpack(lost, i, math.min(i + PUSH_AT_ONCE - 1, #lost)))
end
for i = 1, #ended, PUSH_AT_ONCE do
  call('HDEL', put_back, unpack(ended, i, math.min(i + PUSH_AT_ONCE - 1, #ended)))
end
if seed ~= '' then call('HINCRBY', info, 'epoch', 1) end
call('HSET', info, 'version', raised, 'accepted', raised)
call('HDEL', info, 'halted', 'halted_why')
return {'accepted', tonumber(raised), #back, #emptied / 2}
