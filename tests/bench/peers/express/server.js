// The peer: POST /buy/:eventId sells tickets with a Lua script and puts a receipt job into BullMQ.
// It does less than the service: no idempotency record, no outbox, no limits, no metrics, no log.
// Settings: PORT, REDIS_PORT, PROCESSES (1: no cluster).
const cluster = require('node:cluster');
const crypto = require('node:crypto');
const express = require('express');
const Redis = require('ioredis');
const { Queue } = require('bullmq');

const QUANTITY_MAX = 10;
const SELL = `
  local tickets = redis.call('LRANGE', KEYS[1], 0, ARGV[3] - 1)
  if #tickets < tonumber(ARGV[3]) then return nil end
  redis.call('LPOP', KEYS[1], ARGV[3])
  redis.call('HSET', KEYS[2], 'tickets', table.concat(tickets, ','), 'event', ARGV[1], 'sold_at', ARGV[2])
  redis.call('INCRBY', KEYS[3], ARGV[3])
  return tickets`;

function serve() {
  const port = Number(process.env.REDIS_PORT);
  const redis = new Redis(port);
  const queue = new Queue('receipts', { connection: { port } });
  redis.defineCommand('sell', { numberOfKeys: 3, lua: SELL });

  const app = express();
  app.use(express.json({ limit: '16kb' }));

  app.post('/buy/:eventId', async (request, response) => {
    const { eventId } = request.params;
    const quantity = request.body?.quantity ?? 1;
    if (!Number.isInteger(quantity) || quantity < 1 || quantity > QUANTITY_MAX) {
      return response.status(422).json({ error: 'quantity' });
    }
    const purchaseId = crypto.randomUUID();
    const soldAt = new Date();
    const tickets = await redis.sell(
      `event:{${eventId}}:tickets`, `purchase:{${eventId}}:${purchaseId}`, `event:{${eventId}}:sold`,
      eventId, soldAt.getTime(), quantity);
    if (tickets === null) return response.status(409).json({ error: 'sold out' });
    await queue.add('render', { purchaseId });
    return response.status(201).json({
      purchase_id: purchaseId, event_id: eventId, status: 'sold', quantity, tickets, sold_at: soldAt.toISOString(),
      receipt: { status: 'pending', url: `/tickets/${purchaseId}` },
    });
  });

  app.listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 });
}

const processes = Number(process.env.PROCESSES || 1);
if (cluster.isPrimary && processes > 1) {
  for (let i = 0; i < processes; i += 1) cluster.fork();
} else {
  serve();
}
