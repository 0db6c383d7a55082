-- wrk's script: one request, BENCH_METHOD and BENCH_PATHS in turn, and a count of the answers that were wanted.
-- BENCH_KEYS "" sends no Idempotency-Key, "new" a new one each time, "again" those that end in 0 to BENCH_AGAIN - 1.
-- Wanted is status BENCH_STATUS with BENCH_TEXT in its body; the first other answer is printed.
local method = os.getenv("BENCH_METHOD")
local body = os.getenv("BENCH_BODY")
local keys, prefix, again = os.getenv("BENCH_KEYS"), os.getenv("BENCH_PREFIX"), tonumber(os.getenv("BENCH_AGAIN"))
local wanted, text = tonumber(os.getenv("BENCH_STATUS")), os.getenv("BENCH_TEXT")
local find = string.find
local threads = {}
local heads, tail, number

function setup(thread) threads[#threads + 1] = thread end

function init()
  heads, number = {}, 0
  good, bad, example = 0, 0, "" -- globals: done() asks the thread for them
  local fields = {}
  if body ~= "" then fields["Content-Type"] = "application/json" end
  for path in string.gmatch(os.getenv("BENCH_PATHS"), "[^,]+") do
    local whole = wrk.format(method, path, fields, body ~= "" and body or nil)
    local at = find(whole, "\r\n\r\n", 1, true)
    heads[#heads + 1], tail = string.sub(whole, 1, at - 1), string.sub(whole, at)
  end
end

function request()
  number = number + 1
  local head = heads[number % #heads + 1]
  if keys == "" then return head .. tail end
  local turn = keys == "again" and number % again or number
  return head .. "\r\nIdempotency-Key: " .. prefix .. turn .. tail
end

function response(status, _, answer)
  if status == wanted and find(answer, text, 1, true) then
    good = good + 1
  else
    bad = bad + 1
    if example == "" then example = status .. " " .. string.sub(answer, 1, 300) end
  end
end

function done(summary, latency)
  local counts = {good = 0, bad = 0}
  local first = ""
  for _, thread in ipairs(threads) do
    counts.good = counts.good + thread:get("good")
    counts.bad = counts.bad + thread:get("bad")
    if first == "" then first = thread:get("example") end
  end
  local errors = summary.errors
  print("EXAMPLE " .. string.gsub(first, "[\r\n]", " "))
  print(string.format(
    'RESULT {"good":%d,"bad":%d,"seconds":%.3f,"errors":%d,"late":%d,"p50_ms":%.3f,"p99_ms":%.3f}',
    counts.good, counts.bad, summary.duration / 1e6, errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
