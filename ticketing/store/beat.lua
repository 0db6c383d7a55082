-- A holder says that it lives, and hears whether another process speaks under its name.
-- KEYS 1 contacts, 2 told
-- ARGV 1 holder, 2 nonce of its process, 3 its last contact (ms; 0 = none yet, it takes the name over), 4 how long a
--      contact counts as living (ms), 5 what it tells of itself, 6 where it takes over: the nonce that it takes over from
-- Reply {'told' | 'another' | 'moved', now (ms), holders that live}. `another`: a process with another nonce has spoken
--   under this name since the last contact, so both live. `moved`: the name is no longer that of the process from which it
--   was to be taken over. Nothing was written by either.
-- Invariant: of two processes under one name the one that spoke first hears of the other, and falls silent. A command that
-- arrives late, when its process has ended, takes nothing over from the one that came after it.
local contacts, tellings = KEYS[1], KEYS[2]
local holder, nonce, last = ARGV[1], ARGV[2], tonumber(ARGV[3])
local living, tells, from = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local call = redis.call

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local told = call('HGET', tellings, holder) or '|'
local contact = tonumber(call('ZSCORE', contacts, holder) or 0)
local since = string.format('%.0f', now - living)
local mine = nonce .. '|'
if last == 0 and string.match(told, '^[^|]*') ~= from then
  return {'moved', now, call('ZCOUNT', contacts, since, '+inf')}
end
if last > 0 and told ~= '|' and contact >= last and string.sub(told, 1, #mine) ~= mine then
  return {'another', now, call('ZCOUNT', contacts, since, '+inf')}
end
call('ZADD', contacts, string.format('%.0f', now), holder)
if told ~= mine .. tells then call('HSET', tellings, holder, mine .. tells) end
return {'told', now, call('ZCOUNT', contacts, since, '+inf')}
