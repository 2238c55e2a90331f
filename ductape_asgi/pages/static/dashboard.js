// Keeps the list of devices as it is on the server, and tells times as the reader's clock does.
// The page works without it.  Whatever comes from elsewhere is put in as text.

const EVERY = 1500; // milliseconds between two looks
const AWAKE = 5 * 60_000; // without a sign of the reader: looking is use, and must not keep a session from its idle end
const SYSTEMS = { iPhone: "phone", Android: "phone", iPad: "tablet" };
const COMPUTERS = ["Windows", "macOS", "ChromeOS", "Linux"];

const find = (id) => document.getElementById(id);
const language = document.documentElement.lang;
// Of the reader's own kind where it is of the page's language: "en-GB" and "en-US" write dates otherwise.
const kind = navigator.languages.find((one) => one.split("-")[0] === language) ?? language;
const exact = new Intl.DateTimeFormat(kind, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(language);
const list = find("devices");
const words = list?.dataset ?? {};
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

let timer;
let looking = false;
let failures = 0;
let seen = Date.now();

function ago(when) {
  const minutes = Math.floor((Date.now() - when) / 60_000);
  if (minutes < 1) return words.now;
  if (minutes < 60) return relative.format(-minutes, "minute");
  if (minutes < 1440) return relative.format(-Math.floor(minutes / 60), "hour");
  return relative.format(-Math.floor(minutes / 1440), "day");
}

function tellTimes(within) {
  for (const time of within.querySelectorAll("[data-created], [data-expires]")) {
    if (time.dateTime) time.textContent = exact.format(new Date(time.dateTime));
  }
  for (const time of within.querySelectorAll("[data-seen]")) {
    if (time.dateTime) time.textContent = ago(Date.parse(time.dateTime));
  }
}

function say(text, warning = false) {
  const notice = document.createElement("p");
  notice.className = warning ? "notice warning" : "notice";
  notice.textContent = text;
  find("status").replaceChildren(notice);
}

function describe({ label, userAgent }) {
  const name = label || userAgent;
  if (!name) return { name: words.unknownDevice, kind: "program" };
  const cut = name.indexOf(" on ");
  const [browser, system] = [name.slice(0, cut), name.slice(cut + 4)];
  const kind = Object.hasOwn(SYSTEMS, system) ? SYSTEMS[system] : COMPUTERS.includes(system) ? "computer" : undefined;
  return kind && cut > 0 ? { name: fill(words.device, { browser, system }), kind } : { name, kind: "program" };
}

function makeRow(one) {
  const row = find("row").content.firstElementChild.cloneNode(true);
  const { name, kind } = describe(one.client);
  row.dataset.session = one.sessionId;
  row.querySelector("[data-name]").textContent = name;
  row.querySelector("[data-address]").textContent = one.client.ip || words.unknown;
  row.querySelector("use").setAttribute("href", `#icon-${kind}`);
  row.querySelector("[name=session_id]").value = one.sessionId;
  row.querySelector("button").setAttribute("aria-label", fill(words.signOutOf, { device: name }));
  row.querySelector("[data-created]").dateTime = one.createdAt;
  row.querySelector("[data-expires]").dateTime = one.expiresAt;
  return row;
}

const nameOf = (row) => row.querySelector("[data-name]").textContent;

function takeOut(row) {
  // Whoever stood on its button goes on from the heading, not from the top of the page.
  if (row.contains(document.activeElement)) find("others").focus();
  row.remove();
  return fill(words.ended, { device: nameOf(row) });
}

function putIn(row, previous, newest) {
  if (previous) previous.after(row);
  else list.prepend(row);
  // On later pages, and where one moved up from the next page, nobody has signed in.
  const created = Date.parse(row.querySelector("[data-created]").dateTime);
  return !words.cursor && created > newest ? fill(words.appeared, { device: nameOf(row) }) : "";
}

function show({ count, sessions }) {
  const rows = new Map([...list.children].map((row) => [row.dataset.session, row]));
  const newest = Math.max(0, ...[...list.querySelectorAll("[data-created]")].map((time) => Date.parse(time.dateTime)));
  const others = sessions.filter((one) => one.sessionId !== words.current);
  const live = new Set(others.map((one) => one.sessionId));
  const news = [...rows].filter(([id]) => !live.has(id)).map(([, row]) => takeOut(row));
  let previous;
  for (const one of others) {
    const row = rows.get(one.sessionId) ?? makeRow(one);
    row.querySelector("[data-seen]").dateTime = one.lastSeenAt;
    if (!row.isConnected) news.push(putIn(row, previous, newest));
    previous = row;
  }
  tellTimes(list);
  tellCount(Math.max(0, count - 1));
  if (news.some(Boolean)) say(news.filter(Boolean).join(" "));
}

function tellCount(others) {
  find("count").textContent = others;
  find("warning").textContent = fill(others === 1 ? words.one : words.other, { number: others });
  find("none").hidden = others > 0;
  find("everywhere").hidden = others === 0;
  list.hidden = list.children.length === 0;
}

const query = new URLSearchParams({ limit: words.limit, ...(words.cursor && { cursor: words.cursor }) });
const ask = () => fetch(`sessions?${query}`, { cache: "no-store" });

async function look() {
  let answer = await ask();
  // The access token has ended, or the session: only where it was the latter, the page says so when it comes anew.
  if (answer.status === 401 && (await refresh()).ok) answer = await ask();
  if (answer.status === 401) location.reload();
  else if (answer.ok) show(await answer.json());
  else throw new Error(answer.statusText);
}

function refresh() {
  const token = document.querySelector("[name=csrf_token]")?.value;
  return fetch("refresh", { method: "POST", headers: token ? { "x-csrf-token": token } : {} });
}

async function keepLooking() {
  clearTimeout(timer);
  if (looking || document.hidden || Date.now() - seen > AWAKE) return;
  looking = true;
  try {
    await look();
    if (failures > 1) find("status").replaceChildren();
    failures = 0;
  } catch {
    failures += 1;
    if (failures === 2) say(words.stale, true);
  }
  looking = false;
  timer = setTimeout(keepLooking, EVERY * Math.min(failures + 1, 10));
}

function wake() {
  const slept = Date.now() - seen > AWAKE;
  seen = Date.now();
  if (slept) keepLooking();
}

tellTimes(document);
// A notice of what was done is for once: not for a reload, and not for a bookmark.
if (new URLSearchParams(location.search).has("done")) history.replaceState(null, "", location.pathname);
// The page of somebody who has signed out must not come back with the back button.
addEventListener("pageshow", (event) => event.persisted && location.reload());
if (list) {
  for (const sign of ["pointerdown", "pointermove", "keydown", "wheel"]) addEventListener(sign, wake, { passive: true });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    seen = Date.now();
    keepLooking();
  });
  // What the app's own pages learn of the session, by client.js: a sign-out must not wait for the next look.
  new BroadcastChannel(`ductape cookie ${new URL(".", location.href)}`).onmessage = keepLooking;
  timer = setTimeout(keepLooking, EVERY);
}
