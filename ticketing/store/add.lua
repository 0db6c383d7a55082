-- Issue more tickets: push them into the pool and raise `issued`, by compare-and-set on `issued`.
-- KEYS 1 tickets, 2 info
-- ARGV 1 seed, 2 highest version seen, 3 issued expected, then the ticket ids
-- Reply {'added', version, issued} | {'moved_on', version, issued}: somebody else added first, nothing done |
--   {'no_event'} | {'went_back', version} | {'halted', version}
-- Invariant: a chunk that is sent again, or by two at once, enters the pool once.
local tickets, info = KEYS[1], KEYS[2]
local seed, seen, expected = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST = 4
local call = redis.call
local meta = call('HMGET', info, 'seed', 'version', 'halted', 'issued')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version, issued = tonumber(meta[2] or 0), tonumber(meta[4])
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
if issued ~= expected then return {'moved_on', version, issued} end
call('LLEN', tickets)
local more = #ARGV - FIRST + 1
-- `issued` goes first: an error after it leaves tickets that are in no pool, never an id that could be added twice.
call('HINCRBY', info, 'issued', more)
call('RPUSH', tickets, unpack(ARGV, FIRST))
call('HINCRBY', info, 'epoch', 1)
return {'added', call('HINCRBY', info, 'version', 1), issued + more}
