-- Make an event that does not exist yet. It opens when `planned` tickets are issued (add.lua).
-- KEYS 1 info
-- ARGV 1 seed, 2 planned, then field, value pairs of the description
-- Reply {'created', seed} | {'known', seed, issued}: it existed; nothing was done
-- Invariant: the version never falls, also where an operator has accepted that an event is gone (accept.lua).
local info = KEYS[1]
local seed, planned = ARGV[1], ARGV[2]
local FIRST = 3
local call = redis.call
local now = call('HMGET', info, 'seed', 'issued', 'version')
if now[1] then return {'known', now[1], tonumber(now[2])} end
local version = string.format('%.0f', tonumber(now[3] or 0) + 1)
call('HSET', info, 'seed', seed, 'version', version, 'epoch', 1, 'issued', 0, 'planned', planned, 'sold', 0,
  'voided', 0, 'revision', 1, unpack(ARGV, FIRST))
return {'created', seed}
