-- Make sure that purchase ids hold no ticket, now or later: their tickets go back, and a tombstone bars a late script.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 tries, 6 failed, 7 buyers, 8 contacts
-- ARGV 1 seed, 2 highest version seen, then the purchase ids
-- Reply {'no_event'} | {'went_back', version} | {'halted', version}, nothing done; or {'ok', version, {tag, ...}}:
--   voided (was sold, its tickets are in the pool again), barred (was unknown), already
-- Invariant: running it again changes nothing; a tombstone never becomes anything else.
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tries, failed, buyers, contacts = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local seed, seen = ARGV[1], tonumber(ARGV[2])
local FIRST = 3
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'buyer_max')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local limited = tonumber(meta[4] or 0) > 0
call('LLEN', tickets)
call('ZCARD', receipts)
for _, key in ipairs({tries, failed, buyers, contacts}) do call('HLEN', key) end

local time = call('TIME')
local tombstone = '-' .. string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local reply, bars, returned = {}, 0, 0
for i = FIRST, #ARGV do
  local id = ARGV[i]
  local record = call('HGET', purchases, id)
  local tag = 'already'
  if not record then
    tag = 'barred'
  elseif string.sub(record, 1, 1) ~= '-' then
    tag = 'voided'
    local ids_text, buyer = string.match(record, '^[^|]*|[^|]*|([^|]*)|(.*)$')
    local back = {}
    for ticket in string.gmatch(ids_text, '[^,]+') do back[#back + 1] = ticket end
    -- The record goes first: an error after it loses these tickets, and never has them twice.
    call('HSET', purchases, id, tombstone)
    call('RPUSH', tickets, unpack(back))
    call('HINCRBY', info, 'sold', -#back)
    call('ZREM', receipts, id)
    call('HDEL', tries, id)
    call('HDEL', failed, id)
    call('HDEL', contacts, id)
    if limited and buyer ~= '' then call('HINCRBY', buyers, buyer, -#back) end
    returned = returned + #back
  end
  if tag == 'barred' then call('HSET', purchases, id, tombstone) end
  if tag ~= 'already' then bars = bars + 1 end
  reply[i - FIRST + 1] = tag
end
if bars > 0 then
  call('HINCRBY', info, 'voided', bars)
  version = call('HINCRBY', info, 'version', 1)
end
if returned > 0 then call('HINCRBY', info, 'epoch', 1) end
return {'ok', version, reply}
