-- Change what an event says of itself, or how it is sold. Nothing changes where nothing differs.
-- KEYS 1 info
-- ARGV 1 seed, 2 highest version seen, then field, value pairs ('' removes a field)
-- Reply {'described', version} | {'same', version} | {'no_event'} | {'went_back', version} | {'halted', version}
local info = KEYS[1]
local seed, seen = ARGV[1], tonumber(ARGV[2])
local FIRST = 3
local call = redis.call
local meta = call('HMGET', info, 'seed', 'version', 'halted')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local changed = false
for i = FIRST, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  if (call('HGET', info, field) or '') ~= value then
    changed = true
    if value == '' then call('HDEL', info, field) else call('HSET', info, field, value) end
  end
end
if not changed then return {'same', version} end
call('HINCRBY', info, 'revision', 1)
call('HINCRBY', info, 'epoch', 1)
return {'described', call('HINCRBY', info, 'version', 1)}
