-- Put purchases back that were answered and that a store that went back does not hold, each with its own tickets; and
-- note what a process has put back. Only while the event is halted: nobody sells, settles or leases meanwhile.
-- KEYS 1 tickets, 2 info, 3 purchases, 4 receipts, 5 buyers, 6 contacts, 7 leases, 8 put_back
-- ARGV 1 seed, 2 delay until a receipt is due (ms), 3 how many tickets may be looked through beside the head of the
--      pool, 4 the process, 5 its report ('' = it is not done), then four a purchase: id, record, contact ('' = none),
--      '1' = this process sold it, '' = others may have it to put back as well
-- Reply {'no_event'} | {'not_halted', version}, nothing done; or {'ok', version, {outcome, ...}}, an outcome a purchase:
--   known (there as it was answered), put_back (written now), later (not judged: send it again);
--   taken (a ticket of it is neither in the pool nor in a lease), other (its id holds another purchase),
--   voided (a tombstone): of these three nothing moved, and put_back lists them
-- Invariant: running it again changes nothing. A ticket leaves the pool or a lease before its record is written, so an
-- error in between loses tickets, and never has them twice.
local tickets, info, purchases, receipts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers, contacts, leases, put_back = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local seed, receipt_delay, search, process, report = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local FIRST, WIDTH = 6, 4
local count = (#ARGV - FIRST + 1) / WIDTH
local HEAD, AT_ONCE = 50000, 1000 -- of the pool; Lua unpacks some thousands at most
local call = redis.call

local meta = call('HMGET', info, 'seed', 'version', 'halted', 'buyer_max')
if not meta[1] or meta[1] ~= seed then return {'no_event'} end
local version = tonumber(meta[2] or 0)
if meta[3] ~= '1' then return {'not_halted', version} end
local limited = tonumber(meta[4] or 0) > 0
local pool = call('LLEN', tickets)
call('ZCARD', receipts)
for _, key in ipairs({buyers, contacts, put_back}) do call('HLEN', key) end

-- What is asked for, and which tickets are to be found.
local ids, records, known, wanted, missing = {}, {}, {}, {}, 0
for i = 1, count do
  local at = FIRST + (i - 1) * WIDTH
  ids[i], records[i] = ARGV[at], ARGV[at + 1]
end
if count > 0 then known = call('HMGET', purchases, unpack(ids)) end
local parts = {}
for i = 1, count do
  if not known[i] then
    local ids_text, buyer = string.match(records[i], '^[^|]*|[^|]*|([^|]+)|([^|]*)$')
    parts[i] = {tickets = {}, buyer = assert(buyer, 'a record is damaged')}
    for ticket in string.gmatch(ids_text, '[^,]+') do
      parts[i].tickets[#parts[i].tickets + 1] = ticket
      if not wanted[ticket] then wanted[ticket] = true; missing = missing + 1 end
    end
  end
end

-- Where they are: in a lease, near the head of the pool, or deeper in it, which is looked for one by one.
local lease_of, place = {}, {}
local held = missing > 0 and call('HGETALL', leases) or {}
for i = 1, #held, 2 do
  local bar = assert(string.find(held[i + 1], '|', 1, true), 'a lease is damaged')
  for ticket in string.gmatch(string.sub(held[i + 1], bar + 1), '[^,]+') do
    if wanted[ticket] then lease_of[ticket] = i; missing = missing - 1 end
  end
end
local passed = 0
while missing > 0 and passed < math.min(pool, HEAD) do
  local some = call('LRANGE', tickets, passed, passed + AT_ONCE - 1)
  for n = 1, #some do
    if wanted[some[n]] and not place[some[n]] then place[some[n]] = passed + n; missing = missing - 1 end
  end
  passed = passed + #some
end
local function is_there(ticket)
  if lease_of[ticket] or place[ticket] then return true end
  if passed >= pool then return false end
  search = search - pool
  place[ticket] = call('LPOS', tickets, ticket, 'RANK', -1) and -1 or nil
  return place[ticket] ~= nil
end

local outcomes, claimed, fresh, back, listed, deep = {}, {}, {}, {}, {}, false
for i = 1, count do
  local record, outcome = known[i] or fresh[ids[i]], nil
  if record then
    if record == records[i] then outcome = 'known'
    elseif string.sub(record, 1, 1) == '-' then outcome = 'voided'
    else outcome = 'other' end
  else
    outcome = 'put_back'
    for _, ticket in ipairs(parts[i].tickets) do
      local near = lease_of[ticket] or place[ticket] or passed >= pool
      if not near and search <= 0 and deep then outcome = 'later'; break end -- the first that is deep is always judged
      if claimed[ticket] or not is_there(ticket) then outcome = 'taken'; break end
    end
    for _, ticket in ipairs(parts[i].tickets) do deep = deep or place[ticket] == -1 end
    deep = deep or (outcome == 'taken' and passed < pool)
    if outcome == 'put_back' then
      for _, ticket in ipairs(parts[i].tickets) do claimed[ticket] = true end
      fresh[ids[i]] = records[i]
      back[#back + 1] = i
    end
  end
  if outcome == 'taken' or outcome == 'other' or outcome == 'voided' then
    listed[#listed + 1] = 'conflict:' .. ids[i]
    listed[#listed + 1] = outcome .. '|' .. records[i] .. '|' .. ARGV[FIRST + (i - 1) * WIDTH + 2]
  end
  outcomes[i] = outcome
end

-- The first write; nothing below may fail. The head of the pool goes out and what is not claimed of it comes back.
local deepest, changed, sold = 0, {}, 0
for ticket in pairs(claimed) do
  if lease_of[ticket] then changed[lease_of[ticket]] = true
  elseif place[ticket] == -1 then call('LREM', tickets, -1, ticket)
  else deepest = math.max(deepest, place[ticket]) end
end
if deepest > 0 then
  local popped, rest = call('LPOP', tickets, deepest), {}
  for n = #popped, 1, -1 do
    if not claimed[popped[n]] then rest[#rest + 1] = popped[n] end
  end
  for n = 1, #rest, AT_ONCE do call('LPUSH', tickets, unpack(rest, n, math.min(n + AT_ONCE - 1, #rest))) end
end
for i in pairs(changed) do
  local bar, left = string.find(held[i + 1], '|', 1, true), {}
  for ticket in string.gmatch(string.sub(held[i + 1], bar + 1), '[^,]+') do
    if not claimed[ticket] then left[#left + 1] = ticket end
  end
  call('HSET', leases, held[i], string.sub(held[i + 1], 1, bar) .. table.concat(left, ','))
end
local time = call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + receipt_delay)
for _, i in ipairs(back) do
  local at, id, buyer = FIRST + (i - 1) * WIDTH, ids[i], parts[i].buyer
  local contact, own = ARGV[at + 2], ARGV[at + 3]
  call('HSET', purchases, id, records[i])
  call('ZADD', receipts, due, id)
  if contact ~= '' then call('HSET', contacts, id, contact) end
  if limited and buyer ~= '' then call('HINCRBY', buyers, buyer, #parts[i].tickets) end
  if own == '' then call('HSET', put_back, 'replayed:' .. id, '1') end
  call('HDEL', put_back, 'conflict:' .. id, 'lost:' .. id)
  sold = sold + #parts[i].tickets
end
if #listed > 0 then call('HSET', put_back, unpack(listed)) end
if report ~= '' then call('HSET', put_back, 'report:' .. process, report) end
if sold > 0 then call('HINCRBY', info, 'sold', sold) end
if sold > 0 or report ~= '' or #listed > 0 then version = call('HINCRBY', info, 'version', 1) end
return {'ok', version, outcomes}
