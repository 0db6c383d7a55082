-- Sell tickets of one event to many purchases at once; each purchase is all or nothing.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 buyers, 6 contacts, 7 leases
-- ARGV 1 seed, 2 highest version seen, 3 deadline for new purchases (ms), 4 delay until a receipt is due (ms),
--      then five a purchase: id, quantity, fingerprint, buyer tag ('' = none), contact ('' = none)
-- Reply {'no_event'} | {'went_back', version} | {'halted', version} for all, nothing done; or
--   {'ok', version, now_ms, epoch, left in the pool, leased, quantity_max, buyer_max, opens_ms,
--     {tag, detail, tag, detail, ...}}, a pair a purchase:
--   sold, replayed -> the record; key_reused, voided, expired, buyer_required, sold_out -> '';
--   bad_quantity -> the most tickets that the event ever allowed a purchase; not_on_sale -> upcoming | paused | closed; buyer_limit -> tickets held.
--   `leased` is -1 where nothing was refused (it was not counted then).
-- Invariant: every check of the whole batch, types included, stands before the first write; Redis keeps what a script
-- wrote before an error. The first write is the LPOP: an error after it loses tickets, and never doubles them.
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers, contacts, leases = KEYS[5], KEYS[6], KEYS[7]
local seed, seen, deadline, receipt_delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST, WIDTH = 5, 5
local count = (#ARGV - FIRST + 1) / WIDTH
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'epoch', 'opens_ms', 'closes_ms', 'paused', 'issued',
  'planned', 'quantity_max', 'buyer_max')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local opens, closes = tonumber(meta[5]), tonumber(meta[6])
local quantity_max, buyer_max = tonumber(meta[10] or 10), tonumber(meta[11] or 0)

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local closed_because = nil
if closes and now >= closes then closed_because = 'closed'
elseif tonumber(meta[8]) < tonumber(meta[9]) or (opens and now < opens) then closed_because = 'upcoming'
elseif meta[7] == '1' then closed_because = 'paused' end

-- These raise WRONGTYPE now, while nothing is lost.
local left = call('LLEN', tickets)
call('ZCARD', receipts)
call('HLEN', contacts)
call('HLEN', buyers)

local ids, quantities, prints, tags = {}, {}, {}, {}
for i = 1, count do
  local at = FIRST + (i - 1) * WIDTH
  ids[i], quantities[i], prints[i], tags[i] = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
end
local known = call('HMGET', purchases, unpack(ids))

local held = {}
if buyer_max > 0 then
  local asked = {}
  for i = 1, count do
    if tags[i] ~= '' and not held[tags[i]] then
      asked[#asked + 1] = tags[i]
      held[tags[i]] = 0
    end
  end
  if #asked > 0 then
    local counts = call('HMGET', buyers, unpack(asked))
    for i = 1, #asked do held[asked[i]] = tonumber(counts[i] or 0) end
  end
end

local reply, sales, fresh, taken, refused = {}, {}, {}, 0, false
for i = 1, count do
  local id, quantity, print, buyer, record = ids[i], quantities[i], prints[i], tags[i], known[i]
  local tag, detail = nil, ''
  if fresh[id] then -- the same id twice in one batch
    if prints[fresh[id]] == print then tag, detail = 'replayed', fresh[id] else tag = 'key_reused' end
  elseif record then
    if string.sub(record, 1, 1) == '-' then tag = 'voided'
    elseif string.sub(record, 1, #print + 1) == print .. '|' then tag, detail = 'replayed', record
    else tag = 'key_reused' end
  elseif now > deadline then tag = 'expired'
  elseif closed_because then tag, detail = 'not_on_sale', closed_because
  elseif not quantity or quantity < 1 or quantity > quantity_max or quantity % 1 ~= 0 then
    tag = 'bad_quantity'
    detail = string.format('%.0f', math.max(quantity_max, tonumber(call('HGET', info, 'quantity_max_ever') or 0)))
  elseif buyer_max > 0 and buyer == '' then tag = 'buyer_required'
  elseif buyer_max > 0 and held[buyer] + quantity > buyer_max then tag, detail = 'buyer_limit', tostring(held[buyer])
  elseif quantity > left then tag = 'sold_out'
  else
    tag = 'sold'
    left = left - quantity
    taken = taken + quantity
    if buyer_max > 0 then held[buyer] = held[buyer] + quantity end
    fresh[id] = i
    sales[#sales + 1] = i
  end
  if tag ~= 'sold' and tag ~= 'replayed' then refused = true end
  reply[2 * i - 1], reply[2 * i] = tag, detail
end

local leased = -1
if refused then
  leased = 0
  for _, lease in ipairs(call('HVALS', leases)) do
    local _, commas = string.gsub(lease, ',', '')
    if string.sub(lease, -1) ~= '|' then leased = leased + commas + 1 end
  end
end

if taken > 0 then
  local popped = call('LPOP', tickets, taken) -- the first write; nothing below may fail
  local now_text, due_text = string.format('%.0f', now), string.format('%.0f', now + receipt_delay)
  local first, records, due, names = 1, {}, {}, {}
  for s = 1, #sales do
    local i = sales[s]
    local last = first + quantities[i] - 1
    local record = prints[i] .. '|' .. now_text .. '|' .. table.concat(popped, ',', first, last) .. '|' .. tags[i]
    local contact = ARGV[FIRST + (i - 1) * WIDTH + 4]
    first = last + 1
    reply[2 * i] = record
    records[2 * s - 1], records[2 * s] = ids[i], record
    due[2 * s - 1], due[2 * s] = due_text, ids[i]
    if contact ~= '' then names[#names + 1] = ids[i]; names[#names + 1] = contact end
    if buyer_max > 0 then call('HINCRBY', buyers, tags[i], quantities[i]) end
  end
  call('HSET', purchases, unpack(records))
  call('ZADD', receipts, unpack(due))
  if #names > 0 then call('HSET', contacts, unpack(names)) end
  call('HINCRBY', info, 'sold', taken)
  version = call('HINCRBY', info, 'version', 1)
  for i = 1, count do -- a twin's answer is the record that was made a moment ago
    if type(reply[2 * i]) == 'number' then reply[2 * i] = reply[2 * reply[2 * i]] end
  end
end
return {'ok', version, now, tonumber(meta[4] or 0), left, leased, quantity_max, buyer_max, opens or -1, reply}
