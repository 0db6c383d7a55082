-- Write journalled purchases of one holder, each once. It ignores sale times, pause and limits: the sale was promised.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 buyers, 6 contacts, 7 leases
-- ARGV 1 seed, 2 highest version seen, 3 holder, 4 token expected, 5 token to set, 6 delay until a receipt is due (ms),
--      then six a purchase: id, quantity, fingerprint, buyer tag, contact, sold_at_ms
-- Reply {'no_event'} | {'went_back', version} | {'halted', version}, nothing done;
--   {'moved_on', version, token, tickets leased}, nothing done; or
--   {'settled', version, token, tickets left in the lease, {outcome, ...}, {record, ...}}, both a purchase:
--   settled (written now), known (was there), key_reused (there with other content), voided (barred for ever),
--   unfunded (neither lease nor pool covers it): these three wrote nothing, and have '' for a record
-- Invariant: running it again changes nothing but the token. Tickets come from the holder's lease, then from the pool.
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers, contacts, leases = KEYS[5], KEYS[6], KEYS[7]
local seed, seen, holder, expected, token = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local receipt_delay = tonumber(ARGV[6])
local FIRST, WIDTH = 7, 6
local count = (#ARGV - FIRST + 1) / WIDTH
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'buyer_max')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local limited = tonumber(meta[4] or 0) > 0

local now_token, ids = '', {}
local lease = call('HGET', leases, holder)
if lease then
  local bar = string.find(lease, '|', 1, true)
  now_token = string.sub(lease, 1, bar - 1)
  for id in string.gmatch(string.sub(lease, bar + 1), '[^,]+') do ids[#ids + 1] = id end
end
if now_token ~= expected then return {'moved_on', version, now_token, #ids} end
local pool = call('LLEN', tickets)
call('ZCARD', receipts)
call('HLEN', buyers)
call('HLEN', contacts)

local outcomes, records, writes, fresh = {}, {}, {}, {}
local lease_left, from_pool, sold = #ids, 0, 0
for i = 1, count do
  local at = FIRST + (i - 1) * WIDTH
  local id, quantity, print = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local record = fresh[id] or call('HGET', purchases, id)
  records[i] = ''
  if record and string.sub(record, 1, #print + 1) == print .. '|' then
    outcomes[i], records[i] = 'known', fresh[id] and '' or record -- twice in one call: the first has it
  elseif record and string.sub(record, 1, 1) == '-' then outcomes[i] = 'voided'
  elseif record then outcomes[i] = 'key_reused'
  else
    local mine = math.min(quantity, lease_left)
    if quantity - mine > pool - from_pool then outcomes[i] = 'unfunded'
    else
      outcomes[i] = 'settled'
      lease_left = lease_left - mine
      from_pool = from_pool + quantity - mine
      sold = sold + quantity
      fresh[id] = print .. '|'
      writes[#writes + 1] = i
    end
  end
end

-- The first write; nothing below may fail. The lease goes before the records: an error in between loses tickets.
local extra = from_pool > 0 and call('LPOP', tickets, from_pool) or {}
local taken = {}
while #ids > lease_left do taken[#taken + 1] = table.remove(ids) end
for _, id in ipairs(extra) do taken[#taken + 1] = id end
call('HSET', leases, holder, token .. '|' .. table.concat(ids, ','))
local time = call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + receipt_delay)
local first = 1
for _, i in ipairs(writes) do
  local at = FIRST + (i - 1) * WIDTH
  local id, quantity, print, buyer, contact, sold_at =
    ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local mine = table.concat(taken, ',', first, first + quantity - 1)
  first = first + quantity
  records[i] = print .. '|' .. sold_at .. '|' .. mine .. '|' .. buyer
  call('HSET', purchases, id, records[i])
  call('ZADD', receipts, due, id)
  if contact ~= '' then call('HSET', contacts, id, contact) end
  if limited and buyer ~= '' then call('HINCRBY', buyers, buyer, quantity) end
end
if sold > 0 then call('HINCRBY', info, 'sold', sold) end
return {'settled', call('HINCRBY', info, 'version', 1), token, #ids, outcomes, records}
