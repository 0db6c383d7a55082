-- Begin an event anew under another seed, with an empty pool. Only while nothing was sold and nothing is leased.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 tries, 6 failed, 7 buyers, 8 contacts, 9 leases, 10 put_back
-- ARGV 1 old seed, 2 highest version seen, 3 new seed, 4 planned, then field, value pairs of the description
-- Reply {'replaced', version} | {'sold', version, tickets sold} | {'leased', version} | {'no_event'} |
--   {'went_back', version} | {'halted', version}
-- Invariant: once anything is sold its keys would sell again, so a sold event is never replaced. A late script of the
-- old sale carries the old seed and does nothing.
local info, leases = KEYS[2], KEYS[9]
local old_seed, seen, new_seed, planned = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local FIRST = 5
local call = redis.call
local meta = call('HMGET', info, 'seed', 'version', 'halted', 'sold', 'epoch', 'revision', 'accepted')
if not meta[1] or meta[1] ~= old_seed then return {'no_event'} end
local version, sold = tonumber(meta[2] or 0), tonumber(meta[4] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
if sold > 0 then return {'sold', version, sold} end
for _, lease in ipairs(call('HVALS', leases)) do
  if string.sub(lease, -1) ~= '|' then return {'leased', version} end
end
call('UNLINK', unpack(KEYS))
call('HSET', info, 'seed', new_seed, 'version', version + 1, 'epoch', tonumber(meta[5] or 0) + 1, 'issued', 0,
  'planned', planned, 'sold', 0, 'voided', 0, 'revision', tonumber(meta[6] or 0) + 1, unpack(ARGV, FIRST))
if meta[7] then call('HSET', info, 'accepted', meta[7]) end -- what an operator decided holds for older seeds, too
return {'replaced', version + 1}
