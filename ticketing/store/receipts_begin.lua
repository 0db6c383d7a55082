-- A worker begins to render: count the try, move the due time forward, and hand out what to draw.
-- KEYS 1 purchases, 2 receipts, 3 tries, 4 failed, 5 contacts
-- ARGV 1 tries allowed, 2 base delay (ms), then purchase ids
-- Reply {tag, record, contact, ...}, three an id: first (no try before, since the sale) | again, with record and contact;
--   gone (no longer in the outbox, or voided) | failed (given up now: it stands in `failed`), with '' and ''
-- Invariant: a receipt whose rendering kills its worker each time is given up after the tries allowed.
local purchases, receipts, tries, failed, contacts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local allowed, base = tonumber(ARGV[1]), tonumber(ARGV[2])
local FIRST = 3
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for i = FIRST, #ARGV do
  local id = ARGV[i]
  local tag, record, contact = 'gone', '', ''
  if call('ZSCORE', receipts, id) then
    record = call('HGET', purchases, id) or ''
    if record == '' or string.sub(record, 1, 1) == '-' then
      call('ZREM', receipts, id)
      call('HDEL', tries, id)
      record = ''
    else
      tag = call('HEXISTS', tries, id) == 1 and 'again' or 'first'
      local try = call('HINCRBY', tries, id, 1)
      if try > allowed then
        call('HSET', failed, id, string.format('%.0f', now))
        call('ZREM', receipts, id)
        call('HDEL', tries, id)
        tag, record = 'failed', ''
      else
        call('ZADD', receipts, string.format('%.0f', now + base * 2 ^ (try - 1)), id)
        contact = call('HGET', contacts, id) or ''
      end
    end
  end
  reply[#reply + 1] = tag
  reply[#reply + 1] = record
  reply[#reply + 1] = contact
end
return reply
