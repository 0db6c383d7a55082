// The page for buyers: what is on sale, live; a purchase that is asked for until it is known; its receipt.
//
// What must stay true: the key of a purchase is kept before the purchase is sent, and every try of it carries that key.
// So a double click, a reload or a lost connection buys once. One whose outcome is unknown is never forgotten.

const KEPT = "ticketing.purchases", KEPT_MAX = 60;
const POLL_S = 2, POLL_MAX_S = 60, PATIENCE_MS = 20_000;
const RESUME_MS = 10 * 60_000, UNSURE_MS = 3 * 60_000;
const PAGE = 60, FIND_FROM = 9;
const till = $("till");

// --- What the browser keeps. Without a storage (some private windows), or with a full one, as long as the page lives.
let memory = [], unwritten = false;

function kept() {
  try {
    return unwritten ? memory : JSON.parse(localStorage.getItem(KEPT)) ?? [];
  } catch {
    return memory;
  }
}

function keep(purchase) {
  save([purchase, ...kept().filter((other) => other.key !== purchase.key)]);
}

function forget(key) {
  save(kept().filter((other) => other.key !== key));
}

function save(all) {
  all.sort((one, other) => other.made_at - one.made_at);
  const open = all.filter((one) => one.state !== "bought"), done = all.filter((one) => one.state === "bought");
  memory = [...open, ...done.slice(0, KEPT_MAX)];
  unwritten = true;
  try {
    localStorage.setItem(KEPT, JSON.stringify(memory));
    unwritten = false;
  } catch { /* memory has it */ }
  showMine();
}

const keptOne = (key) => kept().find((one) => one.key === key);
const openOne = (eventId) => kept().find((one) => one.event_id === eventId && one.state !== "bought");
const short = (key) => key.replaceAll("-", "").slice(0, 10);

// --- Words
const tickets = (n) => `${n} ticket${n === 1 ? "" : "s"}`;
const format = (event, options) =>
  new Intl.DateTimeFormat("en-GB", { timeZone: event.timezone, ...options }).format(new Date(event.starts_at));
const day = (event) => format(event, { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const hour = (event) => format(event, { hour: "2-digit", minute: "2-digit" });
const moment = (text) => new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

const zone = (event) => format(event, { timeZoneName: "short" }).split(", ")[1];

function money(price, times = 1) {
  const amount = Number(price.amount) * times;
  return new Intl.NumberFormat("en-GB", { style: "currency", currency: price.currency }).format(amount);
}

const STATES = {
  open: () => "Get tickets",
  sold_out: () => "Sold out",
  paused: () => "Paused for now",
  closed: () => "The sale has ended",
  upcoming: (event) => event.sales.opens_at ? `Opens ${moment(event.sales.opens_at)}` : "Not open yet",
};
const CLOSED = {
  sold_out: () => "Every ticket is sold. If more are released, they appear here by themselves.",
  paused: () => "The organiser has paused this sale. It goes on here, by itself, when they take it up again.",
  closed: () => "This sale has ended.",
  upcoming: (event) => event.sales.opens_at ? `The sale opens on ${moment(event.sales.opens_at)}. This page will notice.`
    : "The sale is not open yet. This page will notice when it opens.",
};

// --- Colours: an accent is the organiser's, so what stands on it and in it is chosen by contrast.
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const hexOf = (parts) => "#" + parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");

function luminance(hex) {
  const [r, g, b] = rgb(hex).map((part) => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + .05) / (low + .05);
}

const on = (ground) => contrast("#ffffff", ground) >= 4.5 ? "#ffffff" : "#000000";

function readable(accent, ground, towards) {
  for (let share = 0; share < 1; share += .05) {
    const mixed = hexOf(rgb(accent).map((part, i) => part + (rgb(towards)[i] - part) * share));
    if (contrast(mixed, ground) >= 4.5) return mixed;
  }
  return towards;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function paint(element, accent) {
  const fill = dark.matches ? readable(accent, "#1c1c24", "#ffffff") : readable(accent, "#ffffff", "#000000");
  const values = {
    accent, fill, "on-accent": on(accent), "on-fill": on(fill),
    ring: on(accent) === "#ffffff" ? "#0000001f" : "#ffffff33",
  };
  for (const [name, value] of Object.entries(values)) element.style.setProperty(`--${name}`, value);
}

// --- The events, asked for again and again; the service says after how long, and a hidden page rests.
let events = new Map(), shown = PAGE, asking = 0, wait = POLL_S, lost = false, first = true;
const cards = new Map();

async function look() {
  clearTimeout(asking);
  try {
    const answer = await fetch("/events?limit=500", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(answer.status);
    wait = Math.min(POLL_MAX_S, Math.max(POLL_S, Number(answer.headers.get("Poll-After")) || POLL_S));
    const page = await answer.json();
    events = new Map(page.events.map((event) => [event.event_id, event]));
    lost = false;
    showEvents();
  } catch {
    lost = true;
    wait = Math.max(wait, Math.min(12, wait * 1.5)); // a crowd that finds it away must not keep it away
    $("lead").classList.remove("live");
    if (!events.size) put($("lead"), "The events could not be loaded yet; trying again.");
  }
  showNotice();
  if (!document.hidden) asking = setTimeout(look, wait * (800 + 400 * Math.random()));
}

function showNotice() {
  const away = [...events.values()].find((event) => event.as_of);
  const text = lost ? "The connection is lost. The numbers below may be old; this page keeps trying."
    : away ? "The ticket office’s main system is away for a moment. Sales go on from a reserve, and what you buy is yours."
    : "";
  put($("notice"), text);
  $("notice").hidden = !text;
}

function showEvents() {
  const all = [...events.values()];
  const words = $("find-text").value.trim().toLowerCase();
  const found = words ? all.filter((event) => `${event.name} ${event.venue}`.toLowerCase().includes(words)) : all;
  const visible = found.slice(0, shown);
  const left = all.reduce((sum, event) => sum + (event.sales.state === "open" ? event.remaining : 0), 0);
  put($("lead"), !all.length ? "Nothing is on sale at the moment. New events appear here by themselves."
    : words ? `${count(found.length)} of ${count(all.length)} events match`
    : `${count(all.length)} event${all.length === 1 ? "" : "s"}, ${count(left)} tickets left, live`);
  $("lead").classList.toggle("live", all.length > 0);
  $("find").hidden = all.length < FIND_FROM;
  $("more").hidden = found.length <= shown;
  const keepIds = new Set(visible.map((event) => event.event_id));
  for (const [id, card] of cards) if (!keepIds.has(id)) { card.remove(); cards.delete(id); }
  visible.forEach((event, place) => {
    const card = cards.get(event.event_id) ?? newCard(event);
    if ($("cards").children[place] !== card) $("cards").insertBefore(card, $("cards").children[place] ?? null);
    fillCard(card, event);
  });
  showTill();
  if (first && location.hash.startsWith("#buy/")) follow();
  first = false;
}

function newCard(event) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  const heading = card.querySelector("h2");
  heading.id = `event-${event.event_id}`;
  card.querySelector(".go").addEventListener("click", () => go(`#buy/${event.event_id}`));
  cards.set(event.event_id, card);
  return card;
}

function fillCard(card, event) {
  const text = (selector, value) => put(card.querySelector(selector), value);
  if (card.dataset.accent !== event.accent) paint(card, card.dataset.accent = event.accent);
  text("h2", event.name);
  text(".venue", event.venue);
  text(".date", day(event));
  text(".hour", hour(event));
  text(".zone", zone(event));
  text(".left b", count(event.remaining));
  text(".left span", `of ${count(event.issued)} left`);
  text(".price", money(event.price));
  card.querySelector(".bar i").style.transform = `scaleX(${event.issued ? event.remaining / event.issued : 0})`;
  const open = event.sales.state === "open", button = card.querySelector(".go");
  const label = STATES[event.sales.state](event);
  if (button.textContent !== label) {
    button.textContent = label;
    button.disabled = !open;
    button.setAttribute("aria-label", `${label}: ${event.name}`);
  }
}

// --- The dialog. The address says what it shows, so that back, forward and reload do what they say.
let current = null; // {event_id} of a form, {key} of a purchase, and {refusal} of one that was refused
let pushed = false;

function go(hash) {
  history.pushState({}, "", hash);
  pushed = true;
  follow();
}

function follow() {
  const [, what, name] = location.hash.match(/^#(buy|mine)\/(.+)/) ?? [];
  const purchase = what === "mine" ? kept().find((one) => short(one.key) === name) : what && openOne(name);
  if (what === "buy" && !purchase && !events.has(name)) return shut();
  if (what === "mine" && !purchase) {
    history.replaceState({}, "", location.pathname);
    return shut();
  }
  if (!what) return shut();
  if (purchase) current = { key: purchase.key, event_id: purchase.event_id };
  else if (current?.event_id !== name || current.key) openForm(name);
  showTill();
  if (!till.open) till.showModal();
  if (purchase) pursue(purchase.key);
}

function openForm(eventId) {
  current = { event_id: eventId };
  $("quantity").value = 1;
  $("choose-warn").hidden = true;
}

function shut() {
  current = null;
  if (till.open) till.close();
}

till.addEventListener("close", () => {
  $("pdf").replaceChildren();
  current = null;
  if (!/^#(buy|mine)\//.test(location.hash)) return;
  if (pushed) history.back();
  else history.replaceState({}, "", location.pathname);
  pushed = false;
});
$("close").addEventListener("click", () => till.close());
till.addEventListener("click", (click) => { if (click.target === till) till.close(); }); // on the ground beside it
// The second click of a double click is meant for what stood there before.
$("outcome").addEventListener("click", (click) => { if (click.detail > 1) { click.preventDefault(); click.stopPropagation(); } }, true);
addEventListener("popstate", () => { pushed = false; follow(); });

function showTill() {
  if (!current) return;
  const purchase = current.key ? keptOne(current.key) ?? current.refused : null;
  const event = events.get(current.event_id) ?? purchase?.event;
  if (!event) return;
  paint(till, event.accent);
  put($("till-when"), `${day(event)}, ${hour(event)} ${zone(event)}`);
  put($("till-title"), event.name);
  put($("till-venue"), event.venue);
  $("choose").hidden = Boolean(purchase);
  $("outcome").hidden = !purchase;
  if (purchase) showOutcome(purchase, event);
  else showForm(event);
}

const wanted = () => Math.trunc(Number($("quantity").value)) || 0;
const most = (event) => Math.max(1, Math.min(event.limits.per_purchase, event.remaining));

function showForm(event) {
  const open = event.sales.state === "open", limit = most(event), n = wanted(), perBuyer = event.limits.per_buyer;
  $("quantity").max = limit;
  $("fewer").disabled = n <= 1;
  $("further").disabled = n >= limit;
  const left = `${count(event.remaining)} left`;
  put($("quantity-hint"), `${money(event.price)} each · at most ${event.limits.per_purchase} at once · ${left}`);
  $("email-field").hidden = !perBuyer;
  put($("email-hint"), perBuyer ? `Each person may hold ${tickets(perBuyer)} of this event; your address says who you are.` : "");
  put($("buy"), open ? `Buy ${tickets(n)} · ${money(event.price, n)}` : STATES[event.sales.state](event));
  $("buy").disabled = !open;
  if (!open) warn(CLOSED[event.sales.state](event));
  else if (current.closed) warn("");
  current.closed = !open;
}

function warn(text) {
  put($("choose-warn"), text);
  $("choose-warn").hidden = !text;
}

for (const [id, step] of [["fewer", -1], ["further", 1]]) {
  $(id).addEventListener("click", () => {
    const event = events.get(current.event_id);
    $("quantity").value = Math.min(most(event), Math.max(1, wanted() + step));
    showForm(event);
    if ($(id).disabled) $("quantity").focus();
  });
}
$("quantity").addEventListener("input", () => { warn(""); showForm(events.get(current.event_id)); });

$("choose").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const event = events.get(current?.event_id);
  if (!event || current.key) return; // asked already
  const quantity = wanted(), limit = event.limits.per_purchase, email = $("email").value.trim();
  const complain = (id, text) => { warn(text); $(id).setAttribute("aria-invalid", "true"); $(id).focus(); };
  for (const id of ["quantity", "email"]) $(id).removeAttribute("aria-invalid");
  if (quantity < 1 || quantity > limit) return complain("quantity", `Choose from 1 to ${limit} tickets.`);
  if (event.limits.per_buyer && !/^\S+@\S+$/.test(email)) return complain("email", "This event needs your e-mail address.");
  const open = openOne(event.event_id); // in another tab
  const purchase = open ?? newPurchase(event, quantity, $("holder").value.trim(), event.limits.per_buyer ? email : "");
  if (!open) keep(purchase); // before anything is sent
  current = { key: purchase.key, event_id: event.event_id };
  history.replaceState({}, "", `#mine/${short(purchase.key)}`);
  showTill();
  $("outcome-title").focus();
  pursue(purchase.key);
});

function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function newPurchase(event, quantity, holder, email) {
  const buyer = { ...(email && { id: email.toLowerCase(), email }), ...(holder && { name: holder }) };
  const body = { quantity, ...(Object.keys(buyer).length && { buyer }) };
  const { event_id, name, venue, accent, starts_at, timezone, price } = event;
  return {
    key: newKey(), event_id, body, state: "asking", tries: 0, made_at: Date.now(),
    event: { event_id, name, venue, accent, starts_at, timezone, price },
  };
}

// --- A purchase, until it is known; then its receipt, until it is there. One pursuit a purchase and page.
const pursuits = new Set(), waits = new Set();

const pause = (seconds) => new Promise((done) => {
  const end = () => { clearTimeout(timer); waits.delete(end); done(); };
  const timer = setTimeout(end, seconds * 1000);
  waits.add(end);
});

async function pursue(key) {
  if (pursuits.has(key)) return;
  pursuits.add(key);
  try {
    for (let wait = 0; wait !== null;) {
      if (wait) await pause(wait);
      const purchase = keptOne(key);
      wait = !purchase || purchase.state === "unsure" ? null
        : purchase.state === "asking" ? await ask(purchase) : await askReceipt(purchase);
      if (current?.key === key) showTill();
    }
  } finally {
    pursuits.delete(key);
  }
}

const isFinal = (status) => status < 500 && status !== 408 && status !== 429;

// One try. The seconds until the next step, or null where there is none.
async function ask(purchase) {
  keep({ ...purchase, tries: purchase.tries + 1 });
  let answer, told;
  try {
    answer = await fetch(`/buy/${purchase.event_id}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": purchase.key },
      body: JSON.stringify(purchase.body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    told = await answer.json();
  } catch {
    return again(purchase.key, 0, "lost");
  }
  if (answer.ok) {
    const known = keptOne(purchase.key) ?? purchase;
    keep({ ...known, state: "bought", bought: told, receipt: told.receipt.status });
    return told.receipt.status === "ready" ? null : .15;
  }
  if (!isFinal(answer.status)) return again(purchase.key, Number(answer.headers.get("Retry-After")), "busy");
  if (current?.key === purchase.key) current = { ...current, refused: { ...purchase, state: "refused", problem: told } };
  forget(purchase.key);
  look();
  return null;
}

function again(key, seconds, why) {
  const purchase = keptOne(key);
  if (!purchase) return null;
  const unsure = Date.now() - (purchase.since ?? purchase.made_at) > UNSURE_MS;
  keep({ ...purchase, why, state: unsure ? "unsure" : "asking" });
  return unsure ? null : Math.max(seconds || 0, Math.min(10, .5 * 2 ** Math.min(5, purchase.tries))) * (.9 + .2 * Math.random());
}

async function askReceipt(purchase) {
  let wait = 3;
  try {
    const answer = await fetch(`/tickets/${purchase.bought.purchase_id}`, {
      headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const told = await answer.json();
    if (answer.ok) {
      keep({ ...purchase, bought: { ...purchase.bought, ...told }, receipt: told.receipt.status, silent: false });
      const pending = told.status !== "sold" || told.receipt.status === "pending";
      wait = pending ? Math.min(5, Number(answer.headers.get("Retry-After")) || 1) : told.receipt.status === "failed" ? 30 : null;
    } else if (answer.status === 404) {
      keep({ ...purchase, receipt: "unknown" });
      return null;
    }
  } catch {
    keep({ ...purchase, silent: true });
  }
  return wait;
}

// --- What is said of a purchase
const REFUSALS = {
  "sold-out": () => ["Sold out", "The last ticket went a moment before. Nothing was bought."],
  "not-enough-tickets": (told) => [
    told.remaining === 1 ? "Only 1 ticket is left" : `Only ${count(told.remaining)} tickets are left`,
    `You asked for ${told.requested}; a purchase is all or nothing, so nothing was bought.`,
  ],
  "buyer-limit": (told) => ["That is more than one person may hold",
    `Of this event one person may hold ${tickets(told.limit)}; you hold ${told.held}. Nothing was bought.`],
  "not-on-sale": (told) => [STATES[told.state]({ sales: told }), `${CLOSED[told.state]({ sales: told })} Nothing was bought.`],
  "invalid-quantity": (told) => [`At most ${tickets(told.limit)} at once`, "Choose fewer. Nothing was bought."],
  "invalid-buyer": () => ["Name or e-mail can’t be used", "Check what you wrote. Nothing was bought."],
};

function wordsOf({ state, tries, why, body, bought, receipt, problem, silent }) {
  if (state === "refused") {
    const kind = problem.type?.split("/").pop();
    const [title, text] = REFUSALS[kind]?.(problem) ?? [problem.title ?? "That did not work", problem.detail ?? "Nothing was bought."];
    return { sign: "bad", pill: "Not bought", title, text };
  }
  if (state === "unsure") {
    return { sign: "wait", pill: "Not confirmed", title: "We never heard whether this went through",
      text: "Finish it, and you have it once, even if it had gone through. Or forget it." };
  }
  if (state === "asking") {
    const text = tries < 2 ? "One moment."
      : why === "busy" ? "The ticket office is busy. Your place is kept: we ask again with the same key, which buys once."
      : "The connection was lost. We ask again with the same key, which buys once.";
    return { sign: "busy", pill: "Buying …", kind: "wait", title: `Buying ${tickets(body.quantity)} …`, text };
  }
  const yours = `${tickets(bought.quantity)} ${bought.quantity === 1 ? "is" : "are"} yours`;
  if (receipt === "unknown") {
    return { sign: "bad", pill: "Unknown", kind: "bad", title: "This purchase is not known here", text: "It may have been made elsewhere, or undone." };
  }
  if (bought.status === "provisional") {
    return { sign: "wait", pill: "Numbers follow", kind: "wait", title: yours,
      text: "The ticket office’s main system is away for a moment. Your purchase is safely written down; ticket numbers and "
        + "the receipt follow by themselves as soon as it is back.",
      state: "Provisional: bought, waiting for its ticket numbers." };
  }
  const states = {
    pending: silent ? "The connection is lost for the moment." : "Your receipt is being drawn …",
    ready: "Your receipt is ready.",
    failed: "The receipt could not be drawn yet. Your tickets stand.",
  };
  return { sign: "good", pill: receipt === "ready" ? "Ready" : "Receipt pending", kind: receipt === "ready" ? "good" : "wait",
    title: yours, text: "Show the code of the receipt at the gate, on paper or on this screen.", state: states[receipt] };
}

function showOutcome(purchase, event) {
  const words = wordsOf(purchase), ready = purchase.receipt === "ready";
  $("sign").className = `sign ${words.sign}`;
  put($("outcome-title"), words.title);
  put($("outcome-text"), words.text);
  put($("state"), words.state ?? "");
  const numbers = purchase.bought?.tickets ?? [];
  $("numbers").hidden = !numbers.length;
  if ($("numbers").children.length !== numbers.length) {
    $("numbers").replaceChildren(...numbers.map((number) => make("li", { textContent: number })));
  }
  put($("proof"), purchase.state === "bought" ? `Asked ${purchase.tries} times, bought once.` : "");
  $("proof").hidden = purchase.state !== "bought" || purchase.tries < 2;
  showDeeds(purchase, event, ready);
  showPdf(ready ? purchase : null);
}

function showDeeds(purchase, event, ready) {
  const { state, problem, key } = purchase;
  const less = problem?.type?.endsWith("not-enough-tickets") ? problem.remaining : 0;
  const kinds = ready ? ["ready"] : state === "unsure" ? ["unsure"] : state === "refused" ? ["refused", less] : [];
  const name = [key, ...kinds].join();
  if ($("deeds").dataset.name === name) return;
  $("deeds").dataset.name = name;
  const url = purchase.bought?.receipt.url;
  const button = (text, className, click) => {
    const made = make("button", { type: "button", className, textContent: text });
    made.addEventListener("click", click);
    return made;
  };
  const made = {
    ready: () => [
      make("a", { className: "go", href: url, target: "_blank", rel: "noopener", textContent: "Open the PDF" }),
      make("a", { className: "quiet", href: `${url}?here=1`, download: `tickets-${purchase.event_id}.pdf`, textContent: "Download" }),
    ],
    unsure: () => [
      button("Finish it", "go", () => { keep({ ...keptOne(key), state: "asking", since: Date.now() }); pursue(key); showTill(); }),
      button("Forget it", "quiet", () => { forget(key); till.close(); }),
    ],
    refused: () => [
      button(less ? `Choose ${less} instead` : "Choose again", "go", () => back(event, less || purchase.body.quantity)),
      button("Close", "quiet", () => till.close()),
    ],
  }[kinds[0]]?.() ?? [];
  $("deeds").replaceChildren(...made);
}

function back(event, quantity) {
  openForm(event.event_id);
  $("quantity").value = quantity;
  history.replaceState({}, "", `#buy/${event.event_id}`);
  showTill();
  $("quantity").focus();
}

function showPdf(purchase) {
  // From here, not from a bucket that the service may send others to: this page shows nothing of another host.
  const url = purchase && `${purchase.bought.receipt.url}?here=1#toolbar=0&navpanes=0&view=FitH`, frame = $("pdf").firstElementChild;
  const canShow = url && navigator.pdfViewerEnabled && innerWidth > 480;
  $("pdf").hidden = !canShow;
  if (!canShow) return $("pdf").replaceChildren();
  if (frame?.getAttribute("src") !== url) $("pdf").replaceChildren(make("iframe", { src: url, title: "The receipt, a PDF" }));
}

// --- What was bought here, and what is still open
function showMine() {
  const all = kept();
  $("mine").hidden = $("to-mine").hidden = !all.length;
  put($("to-mine"), `Your tickets (${all.length})`);
  const list = $("mine-list");
  while (list.children.length > all.length) list.lastElementChild.remove();
  all.forEach((purchase, place) => {
    const row = list.children[place] ?? list.appendChild(newOwn());
    const words = wordsOf(purchase);
    row.dataset.key = purchase.key;
    row.style.setProperty("--accent", purchase.event.accent);
    put(row.querySelector("b"), purchase.event.name);
    put(row.querySelector("small"), `${tickets(purchase.body.quantity)}, ${day(purchase.event)}`);
    const pill = row.querySelector(".pill");
    put(pill, words.pill);
    pill.className = `pill ${words.kind ?? ""}`;
  });
}

function newOwn() {
  const row = $("own").content.firstElementChild.cloneNode(true);
  row.querySelector("button").addEventListener("click", () => go(`#mine/${short(row.dataset.key)}`));
  return row;
}

// Takes up what an earlier page left: at once what is young, never by itself what is old.
function resume() {
  for (const purchase of kept()) {
    const old = Date.now() - (purchase.since ?? purchase.made_at) > RESUME_MS;
    if (purchase.state === "asking" && old) keep({ ...purchase, state: "unsure" });
    else if (purchase.state === "asking" || (purchase.receipt !== "ready" && purchase.receipt !== "unknown")) pursue(purchase.key);
  }
}

$("find-text").addEventListener("input", () => { shown = PAGE; showEvents(); });
$("more").addEventListener("click", () => { shown += PAGE; showEvents(); });
addEventListener("online", () => { for (const end of [...waits]) end(); look(); });
addEventListener("storage", () => { showMine(); showTill(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); else clearTimeout(asking); });
dark.addEventListener("change", () => {
  for (const card of cards.values()) paint(card, card.dataset.accent);
  showTill();
});

showMine();
follow();
resume();
look();
