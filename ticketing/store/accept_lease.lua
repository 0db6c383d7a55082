-- Empty the lease of a holder that is lost for good, because an operator decided so.
-- KEYS 1 tickets, 2 info, 3 leases
-- ARGV 1 seed, 2 highest version that a journal of this host says, 3 holder, 4 token that the operator saw, 5 nonce of
--      the new token
-- Reply {'no_event'} | {'went_back', version} | {'halted', version}, nothing done;
--   {'moved_on', version}: the lease has another token, so its holder lives or somebody decided before, nothing done; or
--   {'accepted', version, tickets back in the pool}
-- Invariant: a change that the holder sends afterwards finds another token and does nothing. The record stays.
local tickets, info, leases = KEYS[1], KEYS[2], KEYS[3]
local seed, seen, holder, expected, nonce = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local PUSH_AT_ONCE = 1000 -- Lua unpacks some thousands at most
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'epoch')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
assert(tonumber(meta[4] or 0), 'the epoch is no number')
call('LLEN', tickets)
local lease = call('HGET', leases, holder) or '|'
local bar = assert(string.find(lease, '|', 1, true), 'the lease is damaged')
if string.sub(lease, 1, bar - 1) ~= expected then return {'moved_on', version} end
local back = {}
for id in string.gmatch(string.sub(lease, bar + 1), '[^,]+') do back[#back + 1] = id end

-- The lease goes first: an error after it loses tickets, and never has them twice.
call('HSET', leases, holder, 'accepted-' .. string.format('%.0f', version + 1) .. '-' .. nonce .. '|')
for i = 1, #back, PUSH_AT_ONCE do
  call('RPUSH', tickets, unpack(back, i, math.min(i + PUSH_AT_ONCE - 1, #back)))
end
call('HINCRBY', info, 'epoch', 1)
return {'accepted', call('HINCRBY', info, 'version', 1), #back}
