-- Fill or empty the lease of one holder: compare-and-set on the lease's token. Also the give-back. Leases take from the
-- end of the pool, so that the first buyers get the first tickets.
-- KEYS 1 tickets, 2 info, 3 leases
-- ARGV 1 seed, 2 highest version seen, 3 holder, 4 token expected ('' = no lease yet), 5 token to set,
--      6 tickets wanted (every journalled ticket that is not settled included), 7 most of the pool to take (per mille)
-- Reply {'no_event'} | {'went_back', version} | {'halted', version}, nothing done;
--   {'moved_on', version, token, tickets leased}: another change ran first, this is how it stands, nothing done; or
--   {'leased', version, token, tickets leased}
-- Invariant: of two copies of one command only the first acts, so a late one neither fills nor empties anything.
local tickets, info, leases = KEYS[1], KEYS[2], KEYS[3]
local seed, seen, holder, expected, token = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local wanted, share = tonumber(ARGV[6]), tonumber(ARGV[7])
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end

local now_token, ids = '', {}
local lease = call('HGET', leases, holder)
if lease then
  local bar = string.find(lease, '|', 1, true)
  now_token = string.sub(lease, 1, bar - 1)
  for id in string.gmatch(string.sub(lease, bar + 1), '[^,]+') do ids[#ids + 1] = id end
end
if now_token ~= expected then return {'moved_on', version, now_token, #ids} end
local pool = call('LLEN', tickets)

if wanted > #ids then
  local more = math.min(wanted - #ids, math.floor(pool * share / 1000))
  if more > 0 then
    -- The first write; an error after it loses these tickets, and never has them twice.
    for _, id in ipairs(call('RPOP', tickets, more)) do ids[#ids + 1] = id end
  end
  call('HSET', leases, holder, token .. '|' .. table.concat(ids, ','))
else
  local back = {}
  while #ids > wanted do back[#back + 1] = table.remove(ids) end
  -- The lease goes first, for the same reason.
  call('HSET', leases, holder, token .. '|' .. table.concat(ids, ','))
  if #back > 0 then
    call('RPUSH', tickets, unpack(back))
    call('HINCRBY', info, 'epoch', 1)
  end
end
return {'leased', call('HINCRBY', info, 'version', 1), token, #ids}
