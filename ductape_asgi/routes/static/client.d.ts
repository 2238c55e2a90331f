/** The signed-in session, as `GET /session` tells it.  Frozen; it holds no token. */
export interface Session<Data = Record<string, unknown>> {
  readonly sessionId: string;
  readonly tag: string;
  /** Whose it is; null for an anonymous session. */
  readonly identifier: string | null;
  readonly data: Data;
  /** The access token's end, RFC 3339 in UTC.  The client sees to it; pages rarely need it. */
  readonly expiresAt: string;
}

export interface ClientOptions {
  /** Where `session_routes` is mounted: a path, or in bearer mode a URL.  Default `"/auth"`. */
  base?: string;
  /** As `session_routes(mode=)`.  Default `"cookie"`. */
  mode?: "cookie" | "bearer";
  /** As `CookiePolicy(name=)`; the CSRF token is read from the cookie named after it.  Default `"ductape"`. */
  cookie?: string;
  /** Further origins that `fetch` sends the session's proof to, e.g. `["https://api.example.com"]`. */
  origins?: readonly string[];
  /**
   * Seconds after which a visible page asks the server whether the session still lives, so that one that was ended
   * elsewhere is noticed.  Default 30; 0: only when its token ends or the page comes back.
   */
  watch?: number;
}

export interface Client<Data = Record<string, unknown>> {
  /**
   * Sign in: `credentials` goes to `POST /login` as JSON.  Answers the new session, in all tabs in cookie mode.
   *
   * Rejects with `SessionError`: status 401 for wrong credentials, 429 for too many attempts; with `TypeError`
   * where the server cannot be reached.
   */
  login(credentials: unknown): Promise<Session<Data> | null>;
  /**
   * End the session, here and in all tabs.  Also where it has ended before.
   *
   * Rejects where the server could not be told: then nobody is signed out, and it may be tried again.
   */
  logout(): Promise<void>;
  /**
   * The session, or null when signed out.  Asks the server when it does not know yet, or with `fresh`.
   *
   * Rejects where the server cannot be asked; that signs nobody out.
   */
  session(options?: { fresh?: boolean }): Promise<Session<Data> | null>;
  /**
   * Call `listener` when somebody signs in or out, in whichever tab, and when the session's data changes; also once
   * when the first answer is there.  Not at each refresh.  Answers a function that stops it.
   */
  onChange(listener: (session: Session<Data> | null) => void): () => void;
  /**
   * As `fetch`.  Requests to this origin, to `base` and to `origins` carry the session's proof; one that is refused with
   * 401 is sent once more where the session could be refreshed.  An `Authorization` of the caller's own stays.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Stop all timers and listeners.  The session lives on. */
  close(): void;
}

/** An answer that is not a session. */
export declare class SessionError extends Error {
  constructor(status: number, problem?: { code?: string; detail?: string; title?: string });
  /** The HTTP status. */
  readonly status: number;
  /** Of `application/problem+json`, e.g. `"invalid_token"`; `""` where there was none. */
  readonly code: string;
}

export declare function createClient<Data = Record<string, unknown>>(options?: ClientOptions): Client<Data>;
