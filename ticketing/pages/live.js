// The page for the operator: one poll after another, each as late as the service asks for, drawn as it is.
//
// What must stay true: what changes the sale is asked for first, and carries the session's CSRF token.

const csrf = document.querySelector("meta[name=csrf]").content;
const rate = (n) => n == null ? "–" : n >= 100 ? count(Math.round(n)) : n.toLocaleString("en", { maximumFractionDigits: n < 1 ? 2 : 1 });
const ms = (n, known) => n != null ? `≤ ${count(n)} ms` : known ? "> 10 s" : "–";
const PATIENCE_MS = 15_000;

function time(s) {
  if (s == null) return "–";
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172_800 ? `${Math.round(s / 3600)} h` : `${count(Math.round(s / 86_400))} days`;
}

// --- Tiles: a number, and what it means
function tiles({ sale, receipts, queue, outage, store, web_processes: web }) {
  const late = sale.latency;
  return {
    "Purchases a second": [rate(sale.purchases_per_s), `${rate(sale.refusals_per_s)} refused a second`],
    "Tickets left": [count(sale.remaining), `of ${count(sale.issued)}, ${count(sale.sold)} sold`],
    "Sold out in": [time(sale.sold_out_in_s), `at ${rate(sale.tickets_per_s)} tickets a second`],
    "Answer, 99 in 100": [ms(late?.p99, late), `a half ${ms(late?.p50, late)}, 95 in 100 ${ms(late?.p95, late)}`],
    "Receipts pending": [count(receipts.pending), `oldest ${time(receipts.oldest_pending_s)}, ${count(receipts.failed)} failed`,
      receipts.failed > 0],
    "Jobs in the queue": [queue.up ? count(queue.depth) : "away",
      queue.up ? `${queue.workers} receipt workers, ${queue.failed} failed` : "the outbox waits", !queue.up || !queue.workers],
    "Store": [outage.active ? "away" : store.sells ? "sells" : "waits",
      `fsync ${store.fsync}, ${web} web process${web === 1 ? "" : "es"}`, outage.active],
    "Reserve": [count(outage.reserve_tickets), `${count(outage.journal_unsettled)} to settle, ${count(outage.outages)} outages`,
      outage.journal_unsettled > 0],
  };
}

function showTiles(now) {
  for (const [name, [value, text, bad]] of Object.entries(tiles(now))) {
    let tile = $("tiles").querySelector(`[data-name="${name}"]`);
    if (!tile) {
      tile = make("div", {}, make("dt", { textContent: name }), make("dd", {}, make("span"), make("small")));
      tile.dataset.name = name;
      $("tiles").append(tile);
    }
    tile.classList.toggle("bad", Boolean(bad));
    put(tile.querySelector("span"), value);
    put(tile.querySelector("small"), text);
  }
}

// --- Plots: ten minutes of one number; a red ground where there was an outage
const PLOTS = [
  ["purchases_per_s", "Purchases a second", rate],
  ["latency_p99_ms", "99 in 100 answers within, ms", rate],
  ["receipts_pending", "Receipts pending", count],
  ["remaining", "Tickets left", count],
];
const HIGH = 40, STEPS_MIN = 24;

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function showPlots(history) {
  for (const [key, title, format] of PLOTS) {
    let plot = $(`plot-${key}`);
    if (!plot) {
      const drawing = svg("svg", { preserveAspectRatio: "none", role: "img" });
      plot = make("div", { className: "plot", id: `plot-${key}` }, make("h2", { textContent: title }), make("p"), drawing);
      $("plots").append(plot);
    }
    const values = history[key], known = values.filter((value) => value != null), top = Math.max(0, ...known);
    const last = known.length ? format(known.at(-1)) : "nothing yet";
    const text = known.length ? `now ${last}, at most ${format(top)}` : last;
    put(plot.querySelector("p"), text);
    const drawing = plot.querySelector("svg");
    drawing.setAttribute("viewBox", `0 0 ${wide(values)} ${HIGH}`);
    drawing.setAttribute("aria-label", `${title} over the last ten minutes: ${text}`);
    drawing.replaceChildren(...shapes(values, history.outage, top));
  }
}

const wide = (values) => Math.max(STEPS_MIN, values.length);

function shapes(values, outage, top) {
  const x = (i) => wide(values) - (values.length - 1 - i), y = (value) => HIGH - (top ? value / top : 0) * (HIGH - 2);
  const drawn = [svg("line", { x1: 0, x2: wide(values), y1: HIGH, y2: HIGH })];
  outage.forEach((active, i) => { if (active) drawn.push(svg("rect", { x: x(i) - 1, y: 0, width: 1, height: HIGH })); });
  let line = "", area = "", begun = null;
  values.forEach((value, i) => {
    if (value == null) { begun = null; return; }
    line += `${begun === null ? "M" : "L"}${x(i)} ${y(value).toFixed(2)}`;
    begun ??= i;
    if (i === values.length - 1 || values[i + 1] == null) {
      const points = values.slice(begun, i + 1).map((one, j) => `L${x(begun + j)} ${y(one).toFixed(2)}`).join("");
      area += `M${x(begun)} ${HIGH}${points}L${x(i)} ${HIGH}Z`;
    }
  });
  return [...drawn, svg("path", { d: area, class: "area" }), svg("path", { d: line })];
}

// --- Events
const rows = new Map();
const SALES = { open: ["open", "good"], paused: ["paused", "wait"], sold_out: ["sold out", ""], closed: ["closed", ""],
  upcoming: ["upcoming", ""] };
let events = [];

function showEvents() {
  const words = $("find").value.trim().toLowerCase(), by = $("by").value;
  let listed = events.filter((event) => `${event.event_id} ${event.name}`.toLowerCase().includes(words));
  if (by) listed = listed.sort((one, other) => by === "remaining" ? one[by] - other[by] : other[by] - one[by]);
  put($("events-title"), `Events (${listed.length === events.length ? count(events.length) : `${listed.length} of ${events.length}`})`);
  const there = new Set(listed.map((event) => event.event_id));
  for (const [id, row] of rows) if (!there.has(id)) { row.remove(); rows.delete(id); }
  listed.forEach((event, place) => {
    const row = rows.get(event.event_id) ?? newRow(event.event_id);
    if ($("rows").children[place] !== row) $("rows").insertBefore(row, $("rows").children[place] ?? null);
    fillRow(row, event);
  });
}

function newRow(id) {
  const row = $("row").content.firstElementChild.cloneNode(true);
  const [pause, add] = row.querySelectorAll("button");
  pause.addEventListener("click", () => pauseOrResume(events.find((event) => event.event_id === id)));
  add.addEventListener("click", () => addTickets(events.find((event) => event.event_id === id)));
  rows.set(id, row);
  return row;
}

function fillRow(row, event) {
  const text = JSON.stringify(event);
  if (row.dataset.shown === text) return;
  row.dataset.shown = text;
  const [head, , ...cells] = row.children, pill = row.querySelector(".pill"), [pause, add] = row.querySelectorAll("button");
  head.style.setProperty("--accent", event.accent);
  put(head.firstElementChild, event.name);
  put(head.lastElementChild, event.event_id);
  const [state, kind] = event.halted ? ["halted", "bad"] : SALES[event.state];
  put(pill, state);
  pill.className = `pill ${kind}`;
  const values = [event.sold, event.remaining, event.leased].map(count);
  values.push(rate(event.tickets_per_s), time(event.sold_out_in_s));
  values.forEach((value, i) => put(cells[i], value));
  put(pause, event.state === "paused" ? "Resume" : "Pause");
  pause.setAttribute("aria-label", `${pause.textContent} ${event.name}`);
  add.setAttribute("aria-label", `Add tickets to ${event.name}`);
}

// --- Deeds
async function call(method, path, body) {
  const headers = { "X-CSRF-Token": csrf, Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
  try {
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const told = await answer.json();
    if (answer.status === 401) location.reload();
    if (!answer.ok) return say(`${told.title}: ${told.detail}`);
    return told;
  } catch {
    return say("No answer came: whether it was done is not known. Look again in a moment.");
  } finally {
    look();
  }
}

function say(text) {
  put($("said"), text);
}

function confirmed(title, text, yes, withNumber = false) {
  const ask = $("ask");
  put($("ask-title"), title);
  put($("ask-text"), text);
  put($("ask-yes"), yes);
  $("ask-field").hidden = !withNumber;
  $("ask-number").disabled = !withNumber;
  ask.returnValue = "";
  ask.showModal();
  return new Promise((done) => ask.addEventListener("close", () => done(ask.returnValue === "yes"), { once: true }));
}

async function pauseOrResume({ event_id: id, name, state }) {
  const paused = state === "paused", verb = paused ? "Resume" : "Pause";
  const text = paused ? "Buyers can buy again at once." : "Nobody can buy until it is resumed. What was bought stays.";
  if (!await confirmed(`${verb} the sale of ${name}?`, text, verb)) return;
  const told = await call("POST", `/admin/events/${id}/${verb.toLowerCase()}`);
  if (told) say(`${name}: the sale is ${told.state.replace("_", " ")} now.`);
}

async function addTickets({ event_id: id, name, issued }) {
  if (!await confirmed(`Add tickets to ${name}`, `${count(issued)} are issued so far.`, "Add them", true)) return;
  const add = Number($("ask-number").value);
  const told = await call("POST", `/admin/events/${id}/tickets`, { add, issued }); // issued: a repetition adds nothing
  if (told) say(`${name}: ${count(told.added)} added, ${count(told.issued)} issued now.`);
}

$("retry").addEventListener("click", async () => {
  const told = await call("POST", "/admin/receipts/retry");
  if (told) say(`${count(told.retried)} failed receipts are due again.`);
});
$("audit").addEventListener("click", async () => {
  say("Reading the whole store …");
  const told = await call("GET", "/admin/audit");
  if (told) say(told.ok ? `All is well: ${told.events.length} events, no ticket twice, none missing.`
    : `${told.violations.length} violations: ${told.violations.map((one) => Object.values(one).join(" ")).join("; ").slice(0, 400)}`);
});

// --- The poll
let timer = 0, polling = false;

async function look() {
  if (polling) return;
  polling = true;
  clearTimeout(timer);
  let wait = 2;
  try {
    const answer = await fetch("/admin/live/data", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    wait = Number(answer.headers.get("Poll-After")) || wait;
    show(await answer.json());
    $("notice").hidden = true;
  } catch {
    put($("notice"), "The service does not answer. What you see is old; this page keeps trying.");
    $("notice").hidden = false;
  } finally {
    polling = false;
  }
  if (!document.hidden) timer = setTimeout(look, wait * (800 + 400 * Math.random()));
}

function show(now) {
  const pill = $("status").firstElementChild, halted = now.store.halted.length;
  const [text, kind] = halted ? [`${halted} halted: an operator must decide`, "bad"]
    : now.outage.active ? ["Outage: selling from the reserve", "bad"] : ["All is well", "good"];
  put(pill, text);
  pill.className = `pill ${kind}`;
  showTiles(now);
  showPlots(now.history);
  events = now.events;
  showEvents();
  if (!now.faults.length) $("faults").replaceChildren(make("li", { textContent: "None." }));
  else $("faults").replaceChildren(...now.faults.map((fault) => make("li", {},
    make("small", { textContent: `${new Date(fault.time).toLocaleTimeString("en-GB")} ${fault.part} ` }), fault.message)));
  if (!$("links").children.length) {
    $("links").append(...Object.entries(now.links).map(([name, href]) => make("li", {}, make("a", { href, textContent: name }))));
  }
}

$("find").addEventListener("input", showEvents);
$("by").addEventListener("change", showEvents);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); else clearTimeout(timer); });
look();
