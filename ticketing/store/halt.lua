-- Stop the sale of an event until an operator decides: the store is older than somebody has seen it.
-- KEYS 1 info
-- ARGV 1 why, for people, 2 version of the last decision of an operator that the caller knows ('' = halt in any case)
-- Reply {'halted', version} | {'already', version} | {'decided', version}: an operator decided since, nothing done
-- Invariant: no other script writes while `halted` is 1. An event that does not exist gets the mark as well, so that it
-- is halted from its beginning if somebody makes it anew: its keys would sell again.
local info = KEYS[1]
local why, decided = ARGV[1], tonumber(ARGV[2])
local call = redis.call
local meta = call('HMGET', info, 'halted', 'version', 'accepted')
assert(tonumber(meta[2] or 0), 'the version is no number')
if meta[1] == '1' then return {'already', tonumber(meta[2] or 0)} end
if decided and tonumber(meta[3] or 0) > decided then return {'decided', tonumber(meta[2] or 0)} end
call('HSET', info, 'halted', '1', 'halted_why', why)
return {'halted', call('HINCRBY', info, 'version', 1)}
