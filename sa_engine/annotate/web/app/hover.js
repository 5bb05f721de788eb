/**
 * The hover preview: with nothing in hand, what a click at the pointer's place would give, as a faint
 * outline. It is asked for beside everything else: no step, clock, draft or journal knows of it.
 */

import { newHand, promptOf, withAnswer, withPoint } from "../core/hand.js";
import { readAnswer } from "../core/pixels.js";
import { mayPreview, pathOf, readyFrames, sizeOf } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { Away, Refused, request } from "../net/api.js";
import { hint } from "./app.js";

const STORE = "sa-engine-hover";
const GAP_MS = 125;
const SLOW_MS = 150;
const TRIPS = 5;

/**
 * As this browser remembers it. slowMs: the median of round trips from which on it pauses.
 * place: where the pointer is, pixels of the image.
 */
export const newHover = () => ({
  on: localStorage.getItem(STORE) === "yes",
  slowMs: SLOW_MS,
  isSlow: false,
  trips: [],
  place: null,
  began: -GAP_MS,
  timer: null,
  flight: null,
});

/** On or off. */
export function toggleHover(app) {
  const { hover, state } = app;
  if (!state.session.has_model) {
    hint(app, TEXTS.hoverNoModel);
    return;
  }
  Object.assign(hover, { on: !hover.on, isSlow: false, trips: [] });
  localStorage.setItem(STORE, hover.on ? "yes" : "no");
  endHover(app);
  hint(app, hover.on ? TEXTS.hoverOn : TEXTS.hoverOff);
  app.redraw(true);
}

/** The pointer moved to a place of the image, no button pressed. */
export function hoverAt(app, x, y) {
  const { hover, state } = app;
  if (!hover.on || hover.isSlow) return;
  const [height, width] = sizeOf(state);
  if (!mayPreview(state) || x < 0 || y < 0 || x > width || y > height) {
    endHover(app);
    return;
  }
  // Browsers also tell of moves where the pointer stayed.
  if (hover.place && hover.place[0] === x && hover.place[1] === y) return;
  hover.place = [x, y];
  plan(app);
}

/** Nothing is previewed until the pointer moves again. */
export function endHover(app) {
  const { hover, state } = app;
  clearTimeout(hover.timer);
  if (hover.flight) hover.flight.abort();
  Object.assign(hover, { place: null, timer: null, flight: null });
  if (!state.preview) return;
  state.preview = null;
  app.redraw();
}

/** An answer took so long: slow ones end the preview until answers, to clicks say, are quick again. */
export function answerTook(app, milliseconds) {
  const { hover } = app;
  if (!hover.on) return;
  hover.trips = [...hover.trips, milliseconds].slice(-TRIPS);
  if (hover.trips.length < TRIPS) return;
  const median = [...hover.trips].sort((a, b) => a - b)[TRIPS >> 1];
  const isSlow = median > hover.slowMs;
  if (isSlow === hover.isSlow) return;
  hover.isSlow = isSlow;
  if (isSlow) endHover(app);
  hint(app, isSlow ? TEXTS.hoverSlow(Math.round(median)) : TEXTS.hoverBack, 12);
  app.redraw(true);
}

function plan(app) {
  const { hover } = app;
  if (hover.timer !== null || hover.flight) return;
  const rest = Math.max(0, Math.ceil(hover.began + GAP_MS - performance.now()) + 1);
  hover.timer = setTimeout(() => {
    hover.timer = null;
    fly(app);
  }, rest);
}

async function fly(app) {
  const { hover, state } = app;
  const { place } = hover;
  if (!place || app.busy.flying || !mayPreview(state)) return;
  const hand = withPoint(newHand("preview"), ...place, 1);
  const flight = new AbortController();
  Object.assign(hover, { flight, began: performance.now() });
  try {
    const response = await request("POST", `${pathOf(state)}/predict`, {
      lease: state.lease,
      body: { ...promptOf(hand, 0, readyFrames(state)), preview: true },
      signal: flight.signal,
    });
    // 202: the image is being encoded.
    if (response.status !== 200) return;
    const answer = readAnswer(await response.arrayBuffer());
    answerTook(app, performance.now() - hover.began);
    if (hover.flight !== flight || !mayPreview(state)) return;
    state.preview = withAnswer(hand, answer);
    app.marks.previews = (app.marks.previews || 0) + 1;
    app.redraw();
  } catch (error) {
    // Clicks and the lease's renewal say what there is to say.
    const isNews = !(error instanceof Refused || error instanceof Away);
    if (isNews && error.name !== "AbortError") throw error;
  } finally {
    if (hover.flight === flight) {
      hover.flight = null;
      if (hover.place !== place) plan(app);
    }
  }
}
