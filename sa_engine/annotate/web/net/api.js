/** Requests to our own server. Every one carries the token of the link. */

/** What the server said no to. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.details = error;
  }
}

/** The server did not answer at all. */
export class Away extends Error {}

const TOKEN = "sa-engine-token";
const TAB = "sa-engine-tab";

/** The token of the link, moved out of the address; "" if there is none. */
export function takeToken() {
  const given = /token=([A-Za-z0-9_-]+)/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(TOKEN, given[1]);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN) || "";
}

/**
 * This tab's own id, which a reload keeps. A new tab takes over that of one that died, so that it
 * gets its image and its mask in hand; a copied tab gets one of its own.
 */
export async function tabId(make) {
  let id = sessionStorage.getItem(TAB);
  const { locks } = navigator;
  if (locks) {
    const { held } = await locks.query();
    const living = new Set(held.map((lock) => lock.name));
    const isFree = (each) => each && !living.has(`${TAB} ${each}`);
    const known = JSON.parse(localStorage.getItem(TAB) || "[]");
    if (!isFree(id)) id = known.find(isFree) || make();
    localStorage.setItem(TAB, JSON.stringify([id, ...known.filter((each) => each !== id)].slice(0, 20)));
    // Held until the page is gone, however it goes.
    locks.request(`${TAB} ${id}`, () => new Promise(() => {}));
  }
  id = id || make();
  sessionStorage.setItem(TAB, id);
  return id;
}

/**
 * @param {string} method @param {string} path @param {object} [options]  body: JSON; lease: of the
 *   image; keepalive: the page may be gone meanwhile
 * @returns {Promise<Response>} throws Refused or Away
 */
export async function request(method, path, { body, lease, keepalive = false, signal } = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) || ""}` };
  if (method !== "GET") headers["Content-Type"] = "application/json";
  if (lease) headers["X-Lease"] = lease;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: method === "GET" ? undefined : JSON.stringify(body || {}),
      keepalive,
      signal,
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away(error.message);
  }
  if (response.ok) return response;
  let said = { code: `http-${response.status}`, message: response.statusText };
  try {
    said = (await response.json()).error || said;
  } catch {
    // An answer that is not ours (a proxy's, say) has no JSON.
  }
  throw new Refused(response.status, said);
}

/** `request` for JSON; null for an answer without content. */
export async function ask(method, path, options) {
  const response = await request(method, path, options);
  return response.status === 204 ? null : response.json();
}
