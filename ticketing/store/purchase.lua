-- Sell tickets of one event to many purchases at once; each purchase is all or nothing.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 buyers, 6 contacts, 7 leases
-- ARGV 1 seed, 2 highest version seen, 3 deadline for new purchases (ms), 4 delay until a receipt is due (ms),
--      5 number of purchases, then columns, a place a purchase: ids, quantities, fingerprints, and, where there is any of
--      both, buyer tags ('' = none) and contacts ('' = none)
-- Reply {'no_event'} | {'went_back', version} | {'halted', version} for all, nothing done; or
--   {'ok', version, now_ms, epoch, left in the pool, leased, quantity_max, buyer_max, opens_ms, tags, details}, where
--     each purchase has its place in the last two. Its tag -> its detail:
--   sold, replayed -> the record; key_reused, voided, expired, buyer_required, sold_out -> '';
--   bad_quantity -> the most tickets that the event ever allowed a purchase; not_on_sale -> upcoming | paused | closed; buyer_limit -> tickets held.
--   `leased` is -1 where nothing was refused (it was not counted then).
-- Invariant: every check of the whole batch, types included, stands before the first write; Redis keeps what a script
-- wrote before an error. The first write is the LPOP: an error after it loses tickets, and never doubles them.
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers, contacts, leases = KEYS[5], KEYS[6], KEYS[7]
local seed, seen, deadline, receipt_delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local count = tonumber(ARGV[5])
local IDS = 5 -- the place before each column
local QUANTITIES, PRINTS, TAGS, CONTACTS = IDS + count, IDS + 2 * count, IDS + 3 * count, IDS + 4 * count
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'epoch', 'opens_ms', 'closes_ms', 'paused', 'issued',
  'planned', 'quantity_max', 'buyer_max', 'sold')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if version < seen then return {'went_back', version} end
if meta[3] == '1' then return {'halted', version} end
local opens, closes = tonumber(meta[5]), tonumber(meta[6])
local quantity_max, buyer_max = tonumber(meta[10] or 10), tonumber(meta[11] or 0)
local sold = tonumber(meta[12] or 0) + 0 -- raises now where it is no number

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local closed_because = nil
if closes and now >= closes then closed_because = 'closed'
elseif tonumber(meta[8]) < tonumber(meta[9]) or (opens and now < opens) then closed_because = 'upcoming'
elseif meta[7] == '1' then closed_because = 'paused' end

-- These raise WRONGTYPE now, while nothing is lost; `buyers` and `purchases` are read before they are written.
local left = call('LLEN', tickets)
call('ZCARD', receipts)
if ARGV[CONTACTS + 1] then call('HLEN', contacts) end

local known = call('HMGET', purchases, unpack(ARGV, IDS + 1, IDS + count))

local held = {}
if buyer_max > 0 then
  local asked = {}
  for i = 1, count do
    local buyer = ARGV[TAGS + i] or ''
    if buyer ~= '' and not held[buyer] then
      asked[#asked + 1] = buyer
      held[buyer] = 0
    end
  end
  if #asked > 0 then
    local counts = call('HMGET', buyers, unpack(asked))
    for i = 1, #asked do held[asked[i]] = tonumber(counts[i] or 0) end
  end
end

local reply_tags, details, fresh, taken, refused, twins = {}, known, {}, 0, false, false
for i = 1, count do
  local id, print, record = ARGV[IDS + i], ARGV[PRINTS + i], known[i]
  local tag, detail = nil, ''
  if fresh[id] then -- the same id twice in one batch
    if ARGV[PRINTS + fresh[id]] == print then tag, detail, twins = 'replayed', fresh[id], true
    else tag = 'key_reused' end
  elseif record then
    if string.sub(record, 1, 1) == '-' then tag = 'voided'
    elseif string.sub(record, 1, #print + 1) == print .. '|' then tag, detail = 'replayed', record
    else tag = 'key_reused' end
  elseif now > deadline then tag = 'expired'
  elseif closed_because then tag, detail = 'not_on_sale', closed_because
  else
    local quantity, buyer = tonumber(ARGV[QUANTITIES + i]), ARGV[TAGS + i] or ''
    if not quantity or quantity < 1 or quantity > quantity_max or quantity % 1 ~= 0 then
      tag = 'bad_quantity'
      detail = string.format('%.0f', math.max(quantity_max, tonumber(call('HGET', info, 'quantity_max_ever') or 0)))
    elseif buyer_max > 0 and buyer == '' then tag = 'buyer_required'
    elseif buyer_max > 0 and held[buyer] + quantity > buyer_max then tag, detail = 'buyer_limit', tostring(held[buyer])
    elseif quantity > left then tag = 'sold_out'
    else
      tag, detail = 'sold', quantity -- its record takes this place
      left = left - quantity
      taken = taken + quantity
      if buyer_max > 0 then held[buyer] = held[buyer] + quantity end
      fresh[id] = i
    end
  end
  if tag ~= 'sold' and tag ~= 'replayed' then refused = true end
  reply_tags[i], details[i] = tag, detail
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
  local between, due_text = string.format('|%.0f|', now), string.format('%.0f', now + receipt_delay)
  local first, at, pairs, names = 1, 0, {}, {}
  for i = 1, count do
    if reply_tags[i] == 'sold' then
      local id, quantity, buyer, contact = ARGV[IDS + i], details[i], ARGV[TAGS + i] or '', ARGV[CONTACTS + i] or ''
      local ids = popped[first]
      if quantity > 1 then ids = table.concat(popped, ',', first, first + quantity - 1) end
      local record = ARGV[PRINTS + i] .. between .. ids .. '|' .. buyer
      first = first + quantity
      details[i] = record
      pairs[at + 1], pairs[at + 2] = id, record
      at = at + 2
      if contact ~= '' then names[#names + 1] = id; names[#names + 1] = contact end
      if buyer_max > 0 then call('HINCRBY', buyers, buyer, quantity) end
    end
  end
  call('HSET', purchases, unpack(pairs))
  for i = 2, at, 2 do pairs[i - 1], pairs[i] = due_text, pairs[i - 1] end
  call('ZADD', receipts, unpack(pairs))
  if #names > 0 then call('HSET', contacts, unpack(names)) end
  version = version + 1
  call('HSET', info, 'sold', string.format('%.0f', sold + taken), 'version', string.format('%.0f', version))
  if twins then -- a twin's answer is the record that was made a moment ago
    for i = 1, count do
      if type(details[i]) == 'number' then details[i] = details[details[i]] end
    end
  end
end
return {'ok', version, now, tonumber(meta[4] or 0), left, leased, quantity_max, buyer_max, opens or -1, reply_tags, details}
