/** The page's one object: state, canvas, clock, outbox, and how they are told to move. */

import { newClock, touched } from "../core/clock.js";
import { mayPreview, newState, shownMasks, shownProposals } from "../core/state.js";
import { newDrawing, draw } from "../canvas/draw.js";
import { newView } from "../canvas/view.js";
import { paintAll, paintRect } from "../canvas/layer.js";

/** Seconds of the page's own clock. */
export const now = () => performance.now() / 1000;

/** @param {HTMLCanvasElement} canvas */
export function newApp(canvas) {
  const app = {
    state: newState(),
    view: newView(),
    drawing: newDrawing(canvas),
    clock: newClock(now()),
    outbox: null,
    store: null,
    tab: "",
    busy: { seq: 0, flying: null, again: false },
    hover: null,
    practice: null,
    loads: 0,
    listeners: [],
    marks: { drawn: 0, painted: 0 },
  };
  let asked = false;
  /** Draw before the next frame of the screen; the panels follow if `panels`. */
  app.redraw = (panels = false) => {
    app.panels = app.panels || panels;
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      if (!mayPreview(app.state)) app.state.preview = null;
      draw(app.drawing, app.state, app.view);
      app.marks.drawn++;
      const told = app.panels;
      app.panels = false;
      if (told) for (const listener of app.listeners) listener(app);
    });
  };
  /** Somebody did something. */
  app.touch = () => touched(app.clock, now());
  return app;
}

/** Everything that the layer shows, the largest first. */
export function layerItems(state) {
  const items = [
    ...state.existing.map((mask) => ({ mask, kind: "existing" })),
    ...shownProposals(state).map((mask) => ({
      mask,
      kind: mask.verdict === "kept" ? "kept" : "proposal",
    })),
    ...shownMasks(state).map((mask) => ({ mask, kind: "finished" })),
  ];
  return items.sort((a, b) => b.mask.area - a.mask.area);
}

/** Redraw the finished masks inside a box of the image, x, y, width, height. */
export function repaint(app, box) {
  const { layer } = app.drawing;
  const edge = layer.edge + 1;
  const rect = [box[0] - edge, box[1] - edge, box[0] + box[2] + edge, box[1] + box[3] + edge];
  paintRect(layer, rect, layerItems(app.state), app.state.look);
  app.redraw(true);
}

/** Redraw all finished masks. */
export function repaintAll(app) {
  if (!app.drawing.layer) return;
  paintAll(app.drawing.layer, layerItems(app.state), app.state.look, () => app.redraw(true));
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

/** Say something to everybody, for a while. */
export function hint(app, text, seconds = 6) {
  const place = document.getElementById("hint");
  place.textContent = text;
  clearTimeout(app.hintTimer);
  app.hintTimer = setTimeout(() => (place.textContent = ""), seconds * 1000);
}

/** Something that stays until it is over; null takes it away. */
export function note(text) {
  const place = document.getElementById("note");
  place.hidden = text === null;
  place.textContent = text || "";
}

