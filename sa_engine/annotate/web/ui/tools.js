/** Pointers on the canvas: mouse, pen and touch, by the tool that is chosen. */

import { ADD, ERASE } from "../core/pixels.js";
import { sizeOf } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { newOverlay, paintLive } from "../canvas/overlay.js";
import { pan, toImage, zoomAt } from "../canvas/view.js";
import { announce, hint } from "../app/app.js";
import { endHover, hoverAt } from "../app/hover.js";
import { addStroke, click, drawBox, maskAt, syncHand } from "../app/masks.js";
import { newHand } from "../core/hand.js";
import { uuid } from "../core/ids.js";

const LEAST_DRAG = 4;
const ERASER_BUTTON = 32;

/** A stroke at a place of the image. */
export function startStroke(app, x, y, mode) {
  const { state, drawing } = app;
  if (mode === ERASE && !state.hand && !state.selected) {
    hint(app, TEXTS.nothingToErase);
    return null;
  }
  if (!drawing.overlay) drawing.overlay = newOverlay(sizeOf(state));
  const stroke = { mode, radius: state.brush / 2, path: [x, y] };
  // Shown at once, before it is part of the hand.
  if (!state.hand && !state.selected) state.hand = { ...newHand(uuid()), strokes: [stroke] };
  else if (state.hand) state.hand = { ...state.hand, strokes: [...state.hand.strokes, stroke] };
  paintLive(drawing.overlay, stroke, 0);
  app.redraw();
  return stroke;
}

export function extendStroke(app, stroke, points) {
  const from = stroke.path.length / 2;
  for (const [x, y] of points) stroke.path.push(x, y);
  paintLive(app.drawing.overlay, stroke, from);
  app.redraw();
}

export function endStroke(app, stroke, before) {
  app.state.hand = before;
  addStroke(app, stroke);
}

/** Listen to pointers. */
export function listenToPointers(app, canvas) {
  const { state, view } = app;
  const pointers = new Map();
  let act = null;
  let penSeen = false;
  let beneath = 0;

  const at = (event) => {
    const bounds = canvas.getBoundingClientRect();
    return [
      (event.clientX - bounds.left) * (canvas.width / bounds.width),
      (event.clientY - bounds.top) * (canvas.height / bounds.height),
    ];
  };
  const place = (event) => toImage(view, ...at(event));

  function begin(event) {
    const [cx, cy] = at(event);
    const [x, y] = toImage(view, cx, cy);
    const background = event.button === 2 || event.altKey;
    if (event.button === 1 || app.spaceHeld) return { kind: "pan", cx, cy };
    if (event.shiftKey || state.tool === "box") return { kind: "box", x, y, cx, cy };
    if (state.tool === "brush" || state.tool === "eraser") {
      const erases = state.tool === "eraser" || background || event.buttons & ERASER_BUTTON;
      const before = state.hand;
      const stroke = startStroke(app, x, y, erases ? ERASE : ADD);
      return stroke && { kind: "stroke", stroke, before };
    }
    if (state.tool === "select") return { kind: "select", x, y };
    return { kind: "click", x, y, label: background ? 0 : 1 };
  }

  function move(event) {
    const [cx, cy] = at(event);
    const [x, y] = toImage(view, cx, cy);
    if (act.kind === "pan") {
      pan(view, cx - act.cx, cy - act.cy, sizeOf(state));
      Object.assign(act, { cx, cy });
      app.moved();
    } else if (act.kind === "box") {
      state.dragged = corners(act.x, act.y, x, y);
      app.redraw();
    } else if (act.kind === "stroke") {
      const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      extendStroke(app, act.stroke, (events.length ? events : [event]).map(place));
    }
  }

  function end(event) {
    const [cx, cy] = at(event);
    const [x, y] = toImage(view, cx, cy);
    if (act.kind === "click") click(app, act.x, act.y, act.label);
    else if (act.kind === "select") select(app, maskAt(app, x, y));
    else if (act.kind === "stroke") endStroke(app, act.stroke, act.before);
    else if (act.kind === "box") {
      state.dragged = null;
      const wide = Math.abs(cx - act.cx) + Math.abs(cy - act.cy) > LEAST_DRAG;
      if (wide) drawBox(app, corners(act.x, act.y, x, y));
      app.redraw();
    }
  }

  function corners(ax, ay, bx, by) {
    const [height, width] = sizeOf(state);
    const within = (value, most) => Math.min(most, Math.max(0, value));
    return [
      within(Math.min(ax, bx), width - 1),
      within(Math.min(ay, by), height - 1),
      within(Math.max(ax, bx), width),
      within(Math.max(ay, by), height),
    ];
  }

  /** Give up what was begun; a stroke stays unless `discard`. */
  function cancel(discard = false) {
    if (act && act.kind === "stroke") {
      if (discard) {
        state.hand = act.before;
        syncHand(app);
        app.redraw(true);
      } else endStroke(app, act.stroke, act.before);
    }
    state.dragged = null;
    act = null;
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    app.touch();
    endHover(app);
    if (!state.image || state.screen !== "image") return;
    if (event.pointerType === "pen") penSeen = true;
    pointers.set(event.pointerId, at(event));
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
    const touches = pointers.size;
    if (event.pointerType === "touch" && (touches > 1 || penSeen)) {
      // Two fingers move the view; beside a pen every finger does (the palm, too).
      cancel(true);
      act = { kind: "pinch" };
    } else if (!act) act = begin(event);
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!state.image || state.screen !== "image") return;
    const before = pointers.get(event.pointerId);
    const point = at(event);
    if (event.pointerType !== "touch") {
      state.pointer = point;
      state.cross = null;
      if (state.tool === "brush" || state.tool === "eraser") app.redraw();
      if (!event.buttons) hoverAt(app, ...toImage(view, ...point));
    }
    if (!before || !act) return;
    app.touch();
    if (act.kind === "pinch") pinch(before, point, event.pointerId);
    else move(event);
    pointers.set(event.pointerId, point);
  });

  function pinch(before, point, id) {
    const other = [...pointers.entries()].find(([key]) => key !== id);
    if (!other) {
      pan(view, point[0] - before[0], point[1] - before[1], sizeOf(state));
    } else {
      const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      const fixed = other[1];
      const middle = [(point[0] + fixed[0]) / 2, (point[1] + fixed[1]) / 2];
      zoomAt(view, far(point, fixed) / far(before, fixed), ...middle, sizeOf(state));
      pan(view, (point[0] - before[0]) / 2, (point[1] - before[1]) / 2, sizeOf(state));
    }
    app.moved();
  }

  const lift = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (act && act.kind !== "pinch" && event.type === "pointerup") end(event);
    else if (act && act.kind !== "pinch") cancel();
    if (!pointers.size || act?.kind !== "pinch") act = null;
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    state.pointer = null;
    endHover(app);
    app.redraw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (!state.image || state.screen !== "image") return;
      app.touch();
      const delta = event.deltaY || event.deltaX;
      if (event.shiftKey) app.resizeBrush(delta < 0 ? 1.15 : 1 / 1.15);
      else if (event.altKey) {
        beneath = Math.max(0, beneath + Math.sign(delta));
        select(app, maskAt(app, ...place(event), beneath));
      } else {
        zoomAt(view, Math.exp(-delta * 0.0016), ...at(event), sizeOf(state));
        app.moved();
      }
    },
    { passive: false },
  );
}

/** Select a mask or proposal; null for none. */
export function select(app, mask) {
  const { state } = app;
  const isProposal = mask && typeof mask.id === "number";
  state.selected = mask && !isProposal ? mask.id : null;
  state.proposal = isProposal ? mask.id : null;
  if (mask) announce(isProposal ? TEXTS.proposals : `${TEXTS.masks} ${[...state.masks.keys()].indexOf(mask.id) + 1}`);
  app.redraw(true);
}
