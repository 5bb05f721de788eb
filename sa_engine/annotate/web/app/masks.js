/** What people do with masks: click, paint, finish, edit, delete, keep, reject, undo. */

import { active, beginWork, close } from "../core/clock.js";
import {
  counts,
  handBits,
  newHand,
  promptKey,
  withBox,
  withCandidate,
  withPoint,
  withStroke,
  wantingThree,
} from "../core/hand.js";
import { uuid } from "../core/ids.js";
import { chooseColour } from "../core/palette.js";
import { crumbs } from "../core/pixels.js";
import { encodeBits, runEnds } from "../core/rle.js";
import { change, record, shownMasks, shownProposals, sizeOf, stepBack, stepForward, undecided } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { newOverlay, syncOverlay } from "../canvas/overlay.js";
import { announce, hint, now, repaint } from "./app.js";
import { askModel } from "./asking.js";
import { saveDraft, sendMask, sendRemoval, sendVerdict } from "./sending.js";

const CRUMB_PX = 100;

const inHand = (app) => app.state.hand || newHand(uuid());

/** From here on it is work. */
export function begun(app) {
  beginWork(app.clock, now());
}

/** What is selected is edited by the next click or stroke; in an audit the mask in question is. */
function beginOnSelected(app) {
  const { state } = app;
  if (state.hand) return;
  if (state.selected) takeInHand(app, state.masks.get(state.selected));
  else if (state.session.mode === "audit" && state.proposal !== null) {
    takeInHand(app, state.proposals.find((each) => each.id === state.proposal));
  }
}

/** Bring the painted strokes up to the hand. */
export function syncHand(app) {
  const { state, drawing } = app;
  const strokes = state.hand ? state.hand.strokes : [];
  if (!drawing.overlay) {
    if (!strokes.length) return;
    drawing.overlay = newOverlay(sizeOf(state));
  }
  syncOverlay(drawing.overlay, strokes);
}

const overlayOf = (app) => {
  syncHand(app);
  return app.drawing.overlay ? app.drawing.overlay.pixels : null;
};

/** A click of the object (1) or the background (0), pixels of the image. */
export function click(app, x, y, label) {
  const { state } = app;
  const [height, width] = sizeOf(state);
  if (x < 0 || y < 0 || x > width || y > height) return;
  begun(app);
  beginOnSelected(app);
  change(state, withPoint(inHand(app), x, y, label));
  state.selected = null;
  syncHand(app);
  askModel(app);
  app.redraw(true);
}

/** A box, two corners in pixels of the image. */
export function drawBox(app, box) {
  begun(app);
  change(app.state, withBox(inHand(app), box));
  app.state.selected = null;
  syncHand(app);
  askModel(app);
  app.redraw(true);
}

/** A stroke that is done. */
export function addStroke(app, stroke) {
  const { state } = app;
  begun(app);
  beginOnSelected(app);
  change(state, withStroke(inHand(app), stroke));
  state.selected = null;
  syncHand(app);
  app.redraw(true);
}

export function chooseCandidate(app, k) {
  const { state } = app;
  if (!state.hand || !state.hand.answer || k >= state.hand.answer.iou.length) return;
  change(state, withCandidate(state.hand, k));
  announce(TEXTS.answers(state.hand.answer.iou.length, TEXTS.candidateNames[k]));
  app.redraw(true);
}

export function askThree(app) {
  const { state } = app;
  if (!state.hand) return hint(app, TEXTS.nothingInHand);
  state.hand = wantingThree(state.hand);
  askModel(app);
  return undefined;
}

/** Fill the outline of the last stroke. */
export function fillStroke(app) {
  const { state } = app;
  const last = state.hand && state.hand.strokes[state.hand.strokes.length - 1];
  if (!last || !last.path || last.path.length < 6) return;
  addStroke(app, { mode: last.mode, radius: 0, path: last.path.slice(), polygon: true });
}

/** Remove pieces and fill holes under 100 px: a stroke, so that it can be undone. */
export function clean(app) {
  const { state } = app;
  if (!state.hand) return hint(app, TEXTS.nothingInHand);
  const found = handBits(state.hand, sizeOf(state), overlayOf(app));
  if (!found) return undefined;
  const { rect, bits } = found;
  const changed = crumbs(bits, rect[2] - rect[0], CRUMB_PX);
  if (changed.some(Boolean)) addStroke(app, { mode: 0, radius: 0, path: [], rect, bits: changed });
  return undefined;
}

/** The mask in hand becomes a finished one. @returns {boolean} false if it is empty */
export function finish(app) {
  const { state } = app;
  const hand = state.hand;
  if (!hand) return true;
  const size = sizeOf(state);
  const found = handBits(hand, size, overlayOf(app));
  const coded = found && encodeBits(found.bits, found.rect, size);
  if (!coded || coded.area < Math.max(1, state.session.min_area)) {
    hint(app, TEXTS.empty);
    return false;
  }
  const interval = close(app.clock, uuid(), now());
  const prev = state.masks.get(hand.id) || null;
  const others = [...shownMasks(state), ...shownProposals(state)];
  const next = {
    id: hand.id,
    revision: nextRevision(app, hand.id),
    rle: coded.rle,
    area: coded.area,
    box: coded.box,
    ends: runEnds(coded.rle.counts),
    colour: prev ? prev.colour : chooseColour(coded.box, others),
    seconds: (prev ? prev.seconds : 0) + interval.search + interval.work,
    how: hand.base ? "edited" : "drawn",
    by: state.session.annotator,
    proposal: hand.proposal,
    saving: true,
    detail: {
      how: hand.base ? "edited" : "drawn",
      proposal: hand.proposal,
      prompts: { points: hand.points, box: hand.box },
      candidate: hand.answer ? hand.candidate : null,
      frame: hand.answer ? hand.answer.frame : null,
      model: hand.answer ? hand.answer.model : null,
      ...counts(hand, app.drawing.overlay ? app.drawing.overlay.pixels : null),
    },
  };
  record(state, { before: hand, after: null, mask: { id: hand.id, prev, next } });
  state.hand = null;
  state.masks.set(next.id, next);
  syncHand(app);
  sendMask(app, next, [interval]);
  saveDraft(app);
  const name = [...state.masks.keys()].indexOf(next.id) + 1;
  announce(TEXTS.maskFinished(name, next.seconds));
  if (next.seconds > state.session.hint_seconds && state.session.hint_seconds) app.emphasiseDone();
  repaint(app, prev ? union(prev.box, next.box) : next.box);
  app.afterFinish();
  return true;
}

const union = (a, b) => {
  const x = Math.min(a[0], b[0]);
  const y = Math.min(a[1], b[1]);
  return [x, y, Math.max(a[0] + a[2], b[0] + b[2]) - x, Math.max(a[1] + a[3], b[1] + b[3]) - y];
};

/** A mask's revisions only grow, also when it is gone for a while. */
function nextRevision(app, id) {
  const revision = (app.revisions.get(id) || 0) + 1;
  app.revisions.set(id, revision);
  return revision;
}

/** Make a mask what it should be (null: gone), here and on the server. */
function setMask(app, id, target, clock) {
  const { state } = app;
  const there = state.masks.get(id) || null;
  const revision = nextRevision(app, id);
  if (target) {
    const mask = { ...target, revision, saving: true };
    state.masks.set(id, mask);
    sendMask(app, mask, clock);
  } else if (there) {
    state.masks.delete(id);
    sendRemoval(app, id, revision, clock);
  }
  const boxes = [there, target].filter(Boolean).map((mask) => mask.box);
  if (boxes.length) repaint(app, boxes.length > 1 ? union(boxes[0], boxes[1]) : boxes[0]);
}

/** Drop the mask in hand; what it was before stays. */
export function drop(app) {
  const { state } = app;
  if (state.hand) {
    const hand = state.hand;
    change(state, null);
    syncHand(app);
    saveDraft(app);
    announce(TEXTS.maskDropped);
    if (hand.base) repaint(app, boxOfRect(hand.base.rect));
  }
  state.selected = null;
  state.proposal = null;
  app.redraw(true);
}

const boxOfRect = ([x0, y0, x1, y1]) => [x0, y0, x1 - x0, y1 - y0];

/** Take a finished mask in hand, to be edited. */
export function takeInHand(app, mask) {
  const { state } = app;
  if (!mask) return;
  begun(app);
  const [x, y, w, h] = mask.box;
  const isProposal = typeof mask.id === "number";
  const base = {
    ref: isProposal ? { proposal: mask.id } : { mask: mask.id, revision: mask.revision },
    ends: mask.ends,
    rect: [x, y, x + w, y + h],
  };
  const id = isProposal ? uuid() : mask.id;
  const proposal = isProposal ? mask.id : mask.proposal;
  change(state, newHand(id, { proposal, base }));
  state.selected = null;
  state.proposal = null;
  syncHand(app);
  repaint(app, mask.box);
}

/** Delete the selected mask, or drop the one in hand for good. */
export function remove(app) {
  const { state } = app;
  const id = state.hand ? state.hand.id : state.selected;
  if (state.hand) drop(app);
  removeMask(app, id);
}

/** Delete a finished mask. */
export function removeMask(app, id) {
  const { state } = app;
  const prev = state.masks.get(id) || null;
  if (!prev) return;
  const clock = [close(app.clock, uuid(), now())];
  record(state, { before: null, after: null, mask: { id, prev, next: null } });
  state.selected = null;
  setMask(app, id, null, clock);
  announce(TEXTS.maskDeleted);
}

/** The smallest finished mask under a point, then those beneath; by `skip` of them. */
export function maskAt(app, x, y, skip = 0) {
  const { state } = app;
  const [height] = sizeOf(state);
  const column = Math.floor(x);
  const row = Math.floor(y);
  const found = [...shownMasks(state), ...undecided(state)]
    .filter((mask) => inBox(mask.box, column, row) && app.holds(mask.ends, height, column, row))
    .sort((a, b) => a.area - b.area);
  return found.length ? found[skip % found.length] : null;
}

const inBox = ([x, y, w, h], px, py) => px >= x && py >= y && px < x + w && py < y + h;

export function undo(app) {
  const step = stepBack(app.state);
  if (!step) return hint(app, TEXTS.undoNothing);
  if (step.before && step.after && app.state.hand) {
    const points = step.after.points.length - step.before.points.length;
    if (points > 0) step.before = { ...step.before, undone: step.before.undone + points };
  }
  return travel(app, step, step.before, "prev");
}

export function redo(app) {
  const step = stepForward(app.state);
  if (!step) return hint(app, TEXTS.redoNothing);
  return travel(app, step, step.after, "next");
}

function travel(app, step, hand, side) {
  const { state } = app;
  app.touch();
  const held = state.hand;
  state.hand = hand && { ...hand };
  const last = state.past[state.past.length - 1];
  if (last && last.after === hand) last.after = state.hand;
  if (step.mask) {
    const clock = [close(app.clock, uuid(), now())];
    if (hand) begun(app);
    setMask(app, step.mask.id, step.mask[side], clock);
  }
  for (const each of step.verdicts || []) {
    const proposal = state.proposals.find((other) => other.id === each.id);
    proposal.verdict = each[side];
    sendVerdict(app, each.id, each[side], []);
    repaint(app, proposal.box);
  }
  for (const each of [held, state.hand]) {
    if (each && each.base) repaint(app, boxOfRect(each.base.rect));
  }
  syncHand(app);
  saveDraft(app);
  if (state.hand && state.hand.answerFor !== promptKey(state.hand)) askModel(app);
  app.redraw(true);
}

/** Seconds of the mask in hand so far. */
export const secondsInHand = (app) => active(app.clock);
