-- End an event's sale for now, or take it up again.
-- KEYS 1 info
-- ARGV 1 seed, 2 highest version seen, 3 '1' to pause, '0' to resume
-- Reply {'ok', version} | {'no_event'} | {'went_back', version} | {'halted', version}
local info = KEYS[1]
local seed, seen, paused = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call = redis.call
local meta = call('HMGET', info, 'seed', 'version', 'halted', 'paused')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
if (meta[4] or '0') == paused then return {'ok', version} end
call('HSET', info, 'paused', paused)
call('HINCRBY', info, 'epoch', 1)
return {'ok', call('HINCRBY', info, 'version', 1)}
