/**
 * What people did, on its way to the server: in order, again and again until it is acknowledged.
 * Every entry has an id of its own, so that one that is sent twice counts once.
 *
 * @typedef {{id: string, order: number, owner: string, method: string, path: string, lease: string,
 *   body: object}} Entry
 */

import { Away, Refused, ask } from "./api.js";

const WAITS_S = [1, 2, 4, 8, 15];

/**
 * @param {object|null} store  see `openStore`
 * @param {string} owner  whose entries: of one WORK and annotator
 * @param {{onState: Function, onSent: Function, onRefused: Function}} tell
 */
export async function newOutbox(store, owner, tell) {
  const every = store ? await store.all().catch(() => []) : [];
  const queue = every.filter((entry) => entry.owner === owner).sort((a, b) => a.order - b.order);
  let order = queue.reduce((most, entry) => Math.max(most, entry.order), Date.now());
  let failures = 0;
  let state = "saved";
  let wake = null;
  let idle = [];

  const setState = (now) => {
    state = now;
    tell.onState(now, queue.length);
    if (!queue.length) {
      for (const resolve of idle) resolve();
      idle = [];
    }
  };

  const forget = (entry) => {
    queue.shift();
    if (store) store.remove(entry.id).catch(() => {});
  };

  async function send(entry) {
    try {
      const said = await ask(entry.method, entry.path, { lease: entry.lease, body: entry.body });
      failures = 0;
      forget(entry);
      tell.onSent(entry, said);
    } catch (error) {
      const again = error instanceof Away || error.status === 507 || error.status >= 500;
      const busy = error.status === 429 || error.status === 408;
      if (error instanceof Refused && !again && !busy && error.status !== 401) {
        forget(entry);
        tell.onRefused(entry, error);
        return;
      }
      failures++;
      setState(error.status === 507 ? "disk" : error.status === 401 ? "token" : "away");
      const seconds = WAITS_S[Math.min(failures, WAITS_S.length) - 1];
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, seconds * 1000);
      });
      wake = null;
    }
  }

  let running = false;
  async function run() {
    if (running) return;
    running = true;
    while (queue.length) {
      if (!failures) setState("saving");
      await send(queue[0]);
    }
    running = false;
    setState("saved");
  }

  run();
  return {
    /** Add a write; its body gets the entry's id. */
    push(id, method, path, lease, body) {
      const entry = { id, order: ++order, owner, method, path, lease, body: { ...body, id } };
      queue.push(entry);
      if (store) store.put(entry).catch(() => {});
      if (!failures) setState("saving");
      run();
    },
    /** Try at once, rather than after the rest of the wait. */
    hurry() {
      if (wake) wake();
    },
    /** Resolves once everything is acknowledged. */
    emptied: () => (queue.length ? new Promise((resolve) => idle.push(resolve)) : Promise.resolve()),
    pending: () => queue.length,
    state: () => state,
  };
}
