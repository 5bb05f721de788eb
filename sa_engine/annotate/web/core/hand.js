/**
 * The mask in hand. Hands are never changed: every step makes a new one, so that undo keeps them.
 *
 * Pixels: ((the model's answer, or the base as clicks have changed it) OR added) AND NOT erased.
 *
 * @typedef {import("./pixels.js").Answer} Answer
 * @typedef {{id: string, proposal: number|null,
 *   base: {ref: object, ends: Int32Array, rect: number[]}|null,
 *   points: [number, number, number][], box: number[]|null, wantsThree: boolean,
 *   answer: Answer|null, answerFor: string, candidate: number,
 *   strokes: object[], undone: number, boxes: number}} Hand
 */

import {
  around,
  answerRect,
  clip,
  range,
  sampleAnswer,
  strokeRect,
  takeOverParts,
} from "./pixels.js";
import { bitsInside } from "./rle.js";

/** A mask that begins. @returns {Hand} */
export function newHand(id, { proposal = null, base = null } = {}) {
  return {
    id,
    proposal,
    base,
    points: [],
    box: null,
    wantsThree: false,
    answer: null,
    answerFor: "",
    candidate: 0,
    strokes: [],
    undone: 0,
    boxes: 0,
  };
}

export const withPoint = (hand, x, y, label) => ({
  ...hand,
  points: [...hand.points, [x, y, label]],
  wantsThree: false,
});

export const withBox = (hand, box) => ({
  ...hand,
  box,
  boxes: hand.boxes + 1,
  wantsThree: false,
});

export const withStroke = (hand, stroke) => ({ ...hand, strokes: [...hand.strokes, stroke] });

export const withCandidate = (hand, candidate) => ({ ...hand, candidate });

export const wantingThree = (hand) => ({ ...hand, wantsThree: true });

/** The answer to its prompts; of several candidates the one of the highest predicted IoU. */
export function withAnswer(hand, answer) {
  let best = 0;
  answer.iou.forEach((iou, k) => {
    if (iou > answer.iou[best]) best = k;
  });
  return { ...hand, answer, answerFor: promptKey(hand), candidate: best };
}

/** Whether the model is to be asked. */
export const hasPrompt = (hand) => hand.points.length > 0 || hand.box !== null;

/** Names the prompts: an answer is only good for the prompts that it was given to. */
export const promptKey = (hand) =>
  JSON.stringify([hand.points, hand.box, hand.wantsThree, hand.base ? hand.base.ref : null]);

/** Whether there is nothing in it at all. */
export const isEmpty = (hand) =>
  !hasPrompt(hand) && hand.strokes.length === 0 && hand.base === null;

/** What `predict` is asked. */
export function promptOf(hand, seq, frames) {
  const prompts = hand.points.length + (hand.box ? 1 : 0);
  const alone = prompts === 1 && !hand.box && !hand.base;
  return {
    seq,
    points: hand.points,
    box: hand.box,
    previous: hand.answer && prompts > 1 ? hand.answer.prediction : null,
    candidate: hand.candidate,
    base: hand.base ? hand.base.ref : null,
    multimask: hand.wantsThree || alone,
    frames,
  };
}

const CHANGED = new WeakMap();

/**
 * The base as the clicks have changed it: {rect, bits, found}, found false if the last click
 * changed nothing.
 */
export function changedBase(hand, size) {
  const known = CHANGED.get(hand.base);
  const key = `${hand.answer ? hand.answer.prediction : ""} ${hand.candidate}`;
  if (known && known.key === key) return known;
  const [height, width] = size;
  const found = hand.answer ? answerRect(hand.answer, hand.candidate) : null;
  const rect = clip(around(hand.base.rect, found), [0, 0, width, height]);
  const bits = bitsInside(hand.base.ends, height, rect);
  let isFound = true;
  if (hand.answer) {
    const columns = range(rect[0], rect[2]);
    const rows = range(rect[1], rect[3]);
    const answer = new Uint8Array(bits.length);
    sampleAnswer(hand.answer, hand.candidate, columns, rows, answer);
    const clicks = hand.box ? [...hand.points, boxMiddle(hand.box)] : hand.points;
    takeOverParts(bits, answer, rect, clicks.slice(0, -1));
    isFound = takeOverParts(bits, answer, rect, clicks.slice(-1)) > 0;
  }
  const out = { key, rect, bits, found: isFound };
  CHANGED.set(hand.base, out);
  return out;
}

const boxMiddle = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2];

/** The rectangle that holds all of the hand's pixels; null if it has none. */
export function handRect(hand, size) {
  let rect = null;
  if (hand.base) rect = changedBase(hand, size).rect;
  else if (hand.answer) rect = answerRect(hand.answer, hand.candidate);
  for (const stroke of hand.strokes) rect = around(rect, strokeRect(stroke, size));
  return rect && clip(rect, [0, 0, size[1], size[0]]);
}

/**
 * The hand's pixels at columns and rows of the image.
 * @param {{pixels: Uint8Array}|null} overlay  the hand's strokes, painted
 */
export function sampleHand(hand, size, columns, rows, overlay) {
  const width = size[1];
  const bits = new Uint8Array(columns.length * rows.length);
  if (hand.base) {
    const { rect, bits: base } = changedBase(hand, size);
    const stride = rect[2] - rect[0];
    for (let j = 0, at = 0; j < rows.length; j++) {
      const y = rows[j];
      const inside = y >= rect[1] && y < rect[3];
      for (let i = 0; i < columns.length; i++, at++) {
        const x = columns[i];
        if (inside && x >= rect[0] && x < rect[2]) {
          bits[at] = base[(y - rect[1]) * stride + x - rect[0]];
        }
      }
    }
  } else if (hand.answer) {
    sampleAnswer(hand.answer, hand.candidate, columns, rows, bits);
  }
  if (overlay) {
    for (let j = 0, at = 0; j < rows.length; j++) {
      const row = rows[j] * width;
      for (let i = 0; i < columns.length; i++, at++) {
        const said = overlay[row + columns[i]];
        if (said) bits[at] = said === 1 ? 1 : 0;
      }
    }
  }
  return bits;
}

/** All of the hand's pixels: {rect, bits}; null if it has none. */
export function handBits(hand, size, overlay) {
  const rect = handRect(hand, size);
  if (!rect) return null;
  const bits = sampleHand(hand, size, range(rect[0], rect[2]), range(rect[1], rect[3]), overlay);
  return { rect, bits };
}

/** How many clicks and strokes went into it, as the journal keeps them. */
export function counts(hand, overlay) {
  let added = 0;
  let erased = 0;
  if (overlay && hand.strokes.length) {
    for (let i = 0; i < overlay.length; i++) {
      if (overlay[i] === 1) added++;
      else if (overlay[i] === 2) erased++;
    }
  }
  const foreground = hand.points.filter((point) => point[2] === 1).length;
  return {
    clicks: {
      foreground,
      background: hand.points.length - foreground,
      boxes: hand.boxes,
      undone: hand.undone,
    },
    strokes: { count: hand.strokes.length, added_px: added, erased_px: erased },
  };
}

/** A hand as JSON, for drafts; the answer is asked for again. */
export function toDraft(hand) {
  const { id, proposal, points, box, candidate, strokes, undone, boxes } = hand;
  const base = hand.base ? hand.base.ref : null;
  const kept = strokes.map((stroke) =>
    stroke.bits ? { ...stroke, bits: Array.from(stroke.bits) } : stroke,
  );
  return { id, proposal, base, points, box, candidate, strokes: kept, undone, boxes };
}

/** The hand of a draft. base: what its `base` names, if it is there. */
export function fromDraft(draft, base) {
  const strokes = draft.strokes.map((stroke) =>
    stroke.bits ? { ...stroke, bits: Uint8Array.from(stroke.bits) } : stroke,
  );
  return { ...newHand(draft.id, draft), ...draft, strokes, base, answer: null, answerFor: "" };
}
