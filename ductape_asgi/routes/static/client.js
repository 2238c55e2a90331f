// The session of a ductape-asgi app, kept alive in the browser; client.d.ts tells what each call gives.
// Whatever may change the session runs under one lock for all tabs, and what a tab learns it tells the others.

const FIVE_MINUTES = 300_000;
const LOOK_AGAIN = 30_000;

/** The server's refusal: `status`, and `code` where it gave problem+json. */
export class SessionError extends Error {
  constructor(status, { code = "", detail, title } = {}) {
    super(detail || title || `the server answered ${status}`);
    Object.assign(this, { name: "SessionError", status, code });
  }
}

export function createClient({ base = "/auth", mode = "cookie", cookie = "ductape", origins = [], watch = 30 } = {}) {
  if (!["cookie", "bearer"].includes(mode)) throw new TypeError(`mode ${mode}: use "cookie" or "bearer"`);
  if (!(watch >= 0)) throw new TypeError(`watch ${watch}: give seconds, or 0 to look only when the token ends`);
  const root = new URL(base.replace(/\/*$/, "/"), location.href);
  const ours = new Set([location.origin, root.origin, ...origins.map((origin) => new URL(origin).origin)]);
  const shared = mode === "cookie"; // All tabs have one session; with tokens in memory each has its own.
  const name = `ductape ${mode} ${root}`;
  const listeners = new Set();
  const stop = new AbortController();

  let session; // undefined until the server was asked; null: signed out
  let tokens = null; // of bearer mode: here and nowhere else
  let ends = 0; // of the access token, on the clock that nobody can set
  let lead = 0; // how long before its end it is refreshed
  let drift = 0; // by what the two clocks differ: another figure later means sleep, or a clock that was set
  let looked = 0;
  let failures = 0;
  let flight;
  let timer;

  const now = () => performance.now();
  const left = () => ends - now();
  const who = (one) => one && JSON.stringify([one.sessionId, one.identifier, one.data]);

  // What is known

  function adopt(next, life = 0) {
    const was = session;
    const renewed = next?.expiresAt !== was?.expiresAt || next?.sessionId !== was?.sessionId;
    session = next && Object.freeze(next);
    looked = now();
    ends = looked + life;
    drift = Date.now() - looked;
    if (renewed) lead = Math.max(0, Math.min(FIVE_MINUTES, life / 10));
    if (who(next) !== who(was)) [...listeners].forEach(inform);
    return renewed;
  }

  function inform(listener) {
    try {
      listener(session);
    } catch (error) {
      reportError(error);
    }
  }

  function settle(answer) {
    const { life, ...next } = answer ?? {};
    if (!answer) tokens = null;
    if (adopt(answer && next, life) && shared) tell({ session, life, at: Date.now() });
    return session;
  }

  // The server

  async function call(method, path, body) {
    const request = new Request(new URL(path, root), {
      method,
      body: body && JSON.stringify(body),
      headers: { accept: "application/json", ...(body && { "content-type": "application/json" }) },
      cache: "no-store",
      credentials: shared ? "include" : "same-origin",
      redirect: "error",
      keepalive: method !== "GET", // A sign-out outlives its page.
      signal: AbortSignal.timeout(15_000),
    });
    const response = await fetch(dress(request));
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw new SessionError(response.status, answer ?? {});
    return answer && { ...answer, life: Date.parse(answer.expiresAt) - serverTime(response) };
  }

  function serverTime(response) {
    // `Date` is up to two seconds old: our own clock is better where it agrees, and nothing where it does not.
    const told = Date.parse(response.headers.get("date")) + 1000;
    return Math.abs(told - Date.now()) > 1000 ? told : Date.now();
  }

  async function ask(method, path, body) {
    try {
      return await call(method, path, body);
    } catch (error) {
      if (error.status === 401) return null;
      throw error;
    }
  }

  const look = async () => (shared || tokens ? ask("GET", "session") : null);
  const proof = () => (tokens ? { refreshToken: tokens.refreshToken } : undefined);
  const refresh = async () => (shared || tokens?.refreshToken ? named(await ask("POST", "refresh", proof())) : null);

  // Tokens say nothing of whose they are.
  async function named(answer) {
    if (answer?.token) tokens = { token: answer.token, refreshToken: answer.refreshToken };
    return answer && !("identifier" in answer) ? look() : answer;
  }

  function dress(request) {
    if (tokens && !request.headers.has("authorization")) request.headers.set("authorization", `Bearer ${tokens.token}`);
    const csrf = shared && request.method !== "GET" && csrfToken();
    if (csrf) request.headers.set("x-csrf-token", csrf);
    return request;
  }

  function csrfToken() {
    const pairs = (globalThis.document?.cookie ?? "").split("; ");
    // In this order: a neighbouring host can plant the last of them.
    const names = ["__Host-", "__Secure-", ""].map((prefix) => `${prefix}${cookie}-csrf=`);
    const found = names.map((start) => pairs.find((pair) => pair.startsWith(start))?.slice(start.length));
    return found.find(Boolean);
  }

  // One at a time

  function sync(due) {
    flight ??= alone(() => exchange(due))
      .then(
        () => (failures = due && left() <= lead ? failures + 1 : 0),
        (error) => {
          failures++;
          throw error;
        },
      )
      .finally(() => {
        flight = undefined;
        plan();
      });
    return flight;
  }

  async function exchange(due) {
    if (due && left() > lead) return; // Another tab was first.
    const before = session?.expiresAt;
    let answer = await look();
    // A new end means the same, of a tab whose news is still on its way.
    if (!answer || (due && answer.expiresAt === before)) answer = (await refresh()) ?? answer;
    // What cannot be refreshed lives until its end.
    if (due && answer?.expiresAt === before) lead = 0;
    settle(answer);
  }

  function leave(announced) {
    return alone(async () => {
      await ask("POST", "logout", proof());
      settle(null);
      if (announced) tell({ session });
    });
  }

  // In time

  function plan() {
    clearTimeout(timer);
    if (!session || stop.signal.aborted) return;
    const wait = failures ? 500 * 2 ** failures : Math.min(left() - lead, (watch || 30) * 1000);
    timer = setTimeout(tick, Math.min(Math.max(wait, 50), LOOK_AGAIN));
  }

  function tick() {
    const due = left() <= lead;
    const slept = Math.abs(Date.now() - now() - drift) > 2000;
    const stale = watch && shown() && now() - looked > watch * 1000 - 50;
    if (due || slept || failures || stale) sync(due && !slept).catch(() => {});
    else plan();
  }

  const shown = () => globalThis.document?.visibilityState !== "hidden";
  const wake = () => session && shown() && sync(false).catch(() => {});
  const { signal } = stop;
  for (const event of ["online", "pageshow", "visibilitychange"]) addEventListener(event, wake, { signal });

  // The other tabs

  const channel = globalThis.BroadcastChannel && new BroadcastChannel(name);
  const tell = (news) => stop.signal.aborted || channel?.postMessage(news);
  channel?.addEventListener("message", ({ data }) => {
    if (data.session && shared) adopt(data.session, data.life - Math.max(0, Date.now() - data.at));
    else if (data.session === null && shared) adopt(null);
    else if (data.session === null && tokens) leave(false).catch(() => settle(null));
    else if (data.claim) hear(data.claim);
    else if (data.deny === ticket) denied = true;
    plan();
  });

  // Without Web Locks: who drew the lowest ticket goes first, and who is at it has the lowest of all.
  let ticket = Infinity;
  let denied = false;
  let queue = Promise.resolve();
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  function hear(claim) {
    if (ticket < claim) tell({ deny: claim });
    else denied = true;
  }

  async function drawn() {
    ticket = Math.random();
    denied = false;
    tell({ claim: ticket });
    await pause(100);
    ticket = denied ? Infinity : -1;
    return !denied;
  }

  function queued(work) {
    const mine = queue.then(async () => {
      while (!(await drawn())) await pause(100 + 100 * Math.random());
      return Promise.resolve(work()).finally(() => (ticket = Infinity));
    });
    queue = mine.catch(() => {});
    return mine;
  }

  const alone = (work) => (navigator.locks ? navigator.locks.request(name, work) : queued(work));

  return {
    login: (credentials) =>
      alone(async () => settle(await named(await call("POST", "login", credentials)))).finally(plan),

    logout: () => leave(true).finally(plan),

    async session({ fresh = false } = {}) {
      if (fresh || !session || left() <= 0) await sync(false);
      return session;
    },

    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },

    async fetch(input, init) {
      const request = new Request(input, init);
      if (!ours.has(new URL(request.url).origin)) return fetch(request);
      const used = session?.expiresAt;
      const again = request.clone();
      const response = await fetch(dress(request));
      if (response.status !== 401 || again.headers.has("authorization")) return response;
      await sync(false).catch(() => {});
      // Once, and only with something new to show.
      return session && session.expiresAt !== used ? fetch(dress(again)) : response;
    },

    close() {
      stop.abort();
      clearTimeout(timer);
      channel?.close();
    },
  };
}
