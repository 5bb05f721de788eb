/** What each action does: the keys and buttons call these by name. */

import { ADD, ERASE } from "../core/pixels.js";
import { sizeOf, undecided } from "../core/state.js";
import { fit, pan, toCanvas, toImage, zoomAt } from "../canvas/view.js";
import { endStroke, extendStroke, startStroke } from "../ui/tools.js";
import { sharpen } from "./frames.js";
import { toggleHover } from "./hover.js";
import { leave, turnPage } from "./images.js";
import * as masks from "./masks.js";
import * as proposals from "./proposals.js";

const FILLS = ["both", "outline", "fill"];
const STEP = 1;
const LEAP = 20;

/** @param {{screen: Function, help: Function, look: Function, skip: Function}} shows */
export function makeActions(app, shows) {
  const { state, view } = app;
  const onImage = (act) => (event) => {
    if (state.image && state.screen === "image") act(event);
  };
  const tool = (name) =>
    onImage(() => {
      state.tool = name;
      app.redraw(true);
    });
  const zoom = (factor) =>
    onImage(() => {
      const at = state.cross ? toCanvas(view, ...state.cross) : [view.width / 2, view.height / 2];
      zoomAt(view, factor, ...at, sizeOf(state));
      app.moved();
    });

  /** The keyboard's stroke: Space held while the cross moves. */
  let stroke = null;
  let before = null;

  function moveCross(dx, dy) {
    return onImage((event) => {
      const step = event.shiftKey ? LEAP : STEP;
      const from = state.cross ? toCanvas(view, ...state.cross) : [view.width / 2, view.height / 2];
      const [height, width] = sizeOf(state);
      const [x, y] = toImage(view, from[0] + dx * step, from[1] + dy * step);
      state.cross = [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
      state.pointer = null;
      const [cx, cy] = toCanvas(view, ...state.cross);
      const rest = 24;
      pan(
        view,
        Math.max(0, rest - cx) - Math.max(0, cx - view.width + rest),
        Math.max(0, rest - cy) - Math.max(0, cy - view.height + rest),
        sizeOf(state),
      );
      if (stroke) extendStroke(app, stroke, [state.cross]);
      app.redraw();
    });
  }

  function press(label) {
    return onImage((event) => {
      if (event.repeat) return;
      if (!state.cross) {
        state.cross = toImage(view, view.width / 2, view.height / 2);
        // With the mouse on the picture, Space held moves the view.
        if (state.pointer) {
          state.cross = null;
          app.spaceHeld = true;
          return;
        }
      }
      const [x, y] = state.cross;
      if (state.tool === "brush" || state.tool === "eraser") {
        before = state.hand;
        const erases = state.tool === "eraser" || !label;
        stroke = startStroke(app, x, y, erases ? ERASE : ADD);
      } else if (state.tool === "select") {
        app.select(masks.maskAt(app, x, y));
      } else if (state.tool === "box") {
        if (!state.boxCorner) state.boxCorner = [x, y];
        else {
          const [a, b] = state.boxCorner;
          state.boxCorner = null;
          if (a !== x && b !== y) {
            masks.drawBox(app, [Math.min(a, x), Math.min(b, y), Math.max(a, x), Math.max(b, y)]);
          }
        }
      } else {
        masks.click(app, x, y, label);
      }
    });
  }

  function release() {
    app.spaceHeld = false;
    if (!stroke) return;
    const done = stroke;
    stroke = null;
    endStroke(app, done, before);
  }

  const finish = onImage(() => {
    if (state.hand) masks.finish(app);
    else if (state.selected) masks.takeInHand(app, state.masks.get(state.selected));
    else if (state.proposal !== null) {
      const proposal = state.proposals.find((each) => each.id === state.proposal);
      if (state.session.mode === "audit") proposals.decide(app, proposal.id, "kept");
      else masks.takeInHand(app, proposal);
    } else if (undecided(state).length) proposals.nextProposal(app);
  });
  const decide = (verdict) =>
    onImage(() => {
      const inHand = state.hand && state.hand.proposal;
      const id = inHand ?? state.proposal;
      if (id === null || id === undefined) return;
      if (inHand !== null && inHand !== undefined) masks.drop(app);
      proposals.decide(app, id, verdict);
    });

  const pressed = {
    finish,
    drop: onImage(() => masks.drop(app)),
    undo: onImage(() => masks.undo(app)),
    redo: onImage(() => masks.redo(app)),
    done: onImage(() => leave(app, "done")),
    skip: onImage(() => shows.skip()),
    toolClick: tool("click"),
    toolBox: tool("box"),
    toolBrush: tool("brush"),
    toolEraser: tool("eraser"),
    toolSelect: tool("select"),
    candidate1: onImage(() => masks.chooseCandidate(app, 0)),
    candidate2: onImage(() => masks.chooseCandidate(app, 1)),
    candidate3: onImage(() => masks.chooseCandidate(app, 2)),
    candidateNext: onImage(() => {
      const { hand } = state;
      if (hand && hand.answer) {
        masks.chooseCandidate(app, (hand.candidate + 1) % hand.answer.iou.length);
      }
    }),
    three: onImage(() => masks.askThree(app)),
    remove: onImage(() => masks.remove(app)),
    keep: decide("kept"),
    reject: decide("rejected"),
    keepAll: onImage(() => proposals.keepAll(app)),
    next: onImage(() => proposals.nextProposal(app, 1)),
    previous: onImage(() => proposals.nextProposal(app, -1)),
    pageBefore: () => turnPage(app, -1),
    pageAfter: () => turnPage(app, 1),
    overview: () => app.showOverview(),
    zoomIn: zoom(1.25),
    zoomOut: zoom(1 / 1.25),
    fit: onImage(() => {
      fit(view, sizeOf(state));
      app.moved();
    }),
    actual: onImage(() => {
      zoomAt(view, devicePixelRatio / view.scale, view.width / 2, view.height / 2, sizeOf(state));
      app.moved();
    }),
    smaller: () => app.resizeBrush(1 / 1.15),
    larger: () => app.resizeBrush(1.15),
    hideAll: () => {
      state.hide.all = true;
      app.redraw();
    },
    hideFinished: () => {
      state.hide.finished = !state.hide.finished;
      app.redraw();
    },
    outline: () => {
      state.look.fill = FILLS[(FILLS.indexOf(state.look.fill) + 1) % FILLS.length];
      app.repaintAll();
    },
    fainter: () => {
      state.look.opacity = Math.max(0.1, state.look.opacity - 0.1);
      app.repaintAll();
    },
    stronger: () => {
      state.look.opacity = Math.min(0.9, state.look.opacity + 0.1);
      app.repaintAll();
    },
    look: () => shows.look(),
    hover: onImage(() => toggleHover(app)),
    sharpen: onImage(() => sharpen(app, 0.98)),
    clean: onImage(() => masks.clean(app)),
    fill: onImage(() => masks.fillStroke(app)),
    help: () => shows.help(),
    clickKey: press(1),
    clickBackgroundKey: press(0),
    left: moveCross(-1, 0),
    right: moveCross(1, 0),
    up: moveCross(0, -1),
    down: moveCross(0, 1),
  };
  const released = {
    hideAll: () => {
      state.hide.all = false;
      app.redraw();
    },
    clickKey: release,
    clickBackgroundKey: release,
  };
  return { pressed, released };
}
