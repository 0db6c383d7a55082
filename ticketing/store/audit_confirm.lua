-- What the store holds for purchase ids under suspicion, all at one moment. Writes nothing.
-- KEYS 1 purchases, 2 receipts, 3 failed, 4 contacts
-- ARGV purchase ids
-- Reply {record, in the outbox, failed, has a contact, ...}, four an id: the record or '', then 1 or 0
-- Invariant: one moment for all places, so that a purchase on its way from one to another is never seen in neither.
local purchases, receipts, failed, contacts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local call = redis.call
local reply = {}
for i = 1, #ARGV do
  local id, at = ARGV[i], 4 * i - 3
  reply[at] = call('HGET', purchases, id) or ''
  reply[at + 1] = call('ZSCORE', receipts, id) and 1 or 0
  reply[at + 2] = call('HEXISTS', failed, id)
  reply[at + 3] = call('HEXISTS', contacts, id)
end
return reply
