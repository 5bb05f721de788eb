/**
 * Seconds a mask: closed intervals, by a monotonic clock. `search` until the first prompt, stroke
 * or edit, then `work`. Kept apart: `waited` (the excess over 250 ms of an answer) and `idle` (from
 * the 15th second without any input). Hidden pages and windows without focus count nothing.
 */

const IDLE_S = 15;
const PATIENCE_S = 0.25;

/** A clock at a time, seconds. */
export function newClock(now) {
  return {
    phase: "search",
    mark: now,
    input: now,
    counts: true,
    sums: { search: 0, work: 0, waited: 0, idle: 0 },
  };
}

/** Count up to a time. */
export function advance(clock, now) {
  if (clock.counts && now > clock.mark) {
    const idleFrom = Math.max(clock.mark, clock.input + IDLE_S);
    const active = Math.max(0, Math.min(now, idleFrom) - clock.mark);
    clock.sums[clock.phase] += active;
    clock.sums.idle += now - clock.mark - active;
  }
  clock.mark = Math.max(clock.mark, now);
}

/** Somebody did something. */
export function touched(clock, now) {
  advance(clock, now);
  clock.input = now;
}

/** From here on it is work. */
export function beginWork(clock, now) {
  touched(clock, now);
  clock.phase = "work";
}

/** The page is hidden or without focus, or back. */
export function setCounting(clock, counts, now) {
  advance(clock, now);
  clock.counts = counts;
  if (counts) clock.input = now;
}

/** An answer took so many seconds: what is over 250 ms was waiting. */
export function waited(clock, seconds, now) {
  advance(clock, now);
  const excess = Math.min(Math.max(0, seconds - PATIENCE_S), clock.sums[clock.phase]);
  clock.sums[clock.phase] -= excess;
  clock.sums.waited += excess;
}

/** Active seconds since the interval began. */
export const active = (clock) => clock.sums.search + clock.sums.work;

/** Close the interval, and begin the next with searching. */
export function close(clock, id, now) {
  advance(clock, now);
  const sums = {};
  for (const [key, value] of Object.entries(clock.sums)) sums[key] = Math.round(value * 1000) / 1000;
  clock.sums = { search: 0, work: 0, waited: 0, idle: 0 };
  clock.phase = "search";
  return { id, ...sums };
}

/** Put an interval that was closed back: its mask is in hand again. */
export function reopen(clock) {
  clock.phase = "work";
}
