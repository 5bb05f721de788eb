/**
 * The only state of the page, and the steps that change it. `draw.js` and the panels read it.
 *
 * @typedef {{id: string, revision: number, rle: object, area: number, box: number[],
 *   ends: Int32Array, colour: number, seconds: number, how: string, by: string,
 *   proposal: number|null, saving: boolean}} Mask
 * @typedef {{before: object|null, after: object|null,
 *   mask?: {id: string, prev: Mask|null, next: Mask|null},
 *   verdicts?: {id: number, prev: string, next: string}[]}} Step  hands before and after, and more
 */

import { chooseColour } from "./palette.js";
import { runEnds } from "./rle.js";

export const STEPS = 200;

/** What there is before any image. */
export function newState() {
  return {
    session: null,
    lease: null,
    image: null,
    masks: new Map(),
    proposals: [],
    existing: [],
    hand: null,
    preview: null,
    selected: null,
    hovered: null,
    proposal: null,
    tool: "click",
    brush: 24,
    past: [],
    future: [],
    cross: null,
    pointer: null,
    look: { fill: "both", opacity: 0.35, brightness: 100, contrast: 100 },
    hide: { all: false, finished: false },
    frames: [],
    screen: "none",
  };
}

/** A mask as the server tells it. @returns {Mask} */
export function fromServer(mask, others) {
  return {
    ...mask,
    ends: runEnds(mask.rle.counts),
    colour: chooseColour(mask.box, others),
    saving: false,
  };
}

/** Take up an image. */
export function openImage(state, given) {
  const { image } = given;
  const masks = new Map();
  const coloured = [];
  const take = (mask) => {
    coloured.push(fromServer(mask, coloured));
    return coloured[coloured.length - 1];
  };
  for (const mask of image.masks) masks.set(mask.id, take(mask));
  Object.assign(state, {
    lease: given.lease,
    image,
    masks,
    proposals: image.proposals.map(take),
    existing: image.existing.map((each) => fromServer(each, [])),
    hand: null,
    selected: null,
    hovered: null,
    proposal: null,
    past: [],
    future: [],
    cross: null,
    frames: [],
  });
}

const OF_IMAGE = ["lease", "image", "masks", "proposals", "existing", "hand", "selected", "hovered", "proposal"];
const OF_WORK = ["past", "future", "cross", "where"];

/** What belongs to the image at hand; `Object.assign` puts it back. */
export function partOfImage(state) {
  const part = Object.fromEntries([...OF_IMAGE, ...OF_WORK].map((key) => [key, state[key]]));
  // Frames that are being encoded are asked for anew.
  return { ...part, frames: state.frames.filter((frame) => frame.ready) };
}

/** Go a step: what it changes must be done already; this is for undoing it. */
export function record(state, step) {
  state.past.push(step);
  if (state.past.length > STEPS) state.past.shift();
  state.future = [];
}

/** Change the hand, as one step of undo. */
export function change(state, hand) {
  record(state, { before: state.hand, after: hand });
  state.hand = hand;
}

/** An answer belongs to the hand that is there, and to the step that made it. */
export function answered(state, hand) {
  const last = state.past[state.past.length - 1];
  if (last && last.after === state.hand) last.after = hand;
  state.hand = hand;
}

/** The step to be undone, moved to those to be redone; undefined if there is none. */
export function stepBack(state) {
  const step = state.past.pop();
  if (step) state.future.push(step);
  return step;
}

/** The step to be redone, moved back. */
export function stepForward(state) {
  const step = state.future.pop();
  if (step) state.past.push(step);
  return step;
}

/** Finished masks to be shown, the mask in hand left out. */
export function shownMasks(state) {
  const found = [];
  for (const mask of state.masks.values()) {
    if (!state.hand || state.hand.id !== mask.id) found.push(mask);
  }
  return found;
}

/** What was made of each proposal, by id: edited while a mask of it is there, else as was said. */
export function verdicts(state) {
  const found = new Map(state.proposals.map((each) => [each.id, each.verdict]));
  for (const each of state.proposals) if (each.verdict === "edited") found.set(each.id, "undecided");
  for (const mask of state.masks.values()) if (mask.proposal) found.set(mask.proposal, "edited");
  return found;
}

/** Proposals that are to be shown: undecided and kept, and not in hand. */
export function shownProposals(state) {
  const said = verdicts(state);
  return state.proposals.filter(
    (each) =>
      ["undecided", "kept"].includes(said.get(each.id)) &&
      !(state.hand && state.hand.proposal === each.id),
  );
}

export function undecided(state) {
  const said = verdicts(state);
  return state.proposals.filter((each) => said.get(each.id) === "undecided");
}

/** Whether a click would begin a mask by asking the model: then it can be previewed. */
export function mayPreview({ session, screen, image, tool, hand, selected, proposal }) {
  const isFree = !hand && selected === null && !(proposal !== null && session.mode === "audit");
  return screen === "image" && image !== null && tool === "click" && isFree && session.has_model;
}

/** Whether the image at hand is the practice picture: the server keeps nothing of it. */
export const isPractice = ({ image }) => image !== null && image.id === 0;

/** Where the server is asked about the image at hand. */
export const pathOf = (state) =>
  isPractice(state) ? "/api/practice" : `/api/images/${state.image.id}`;

/** The [height, width] of the image at hand. */
export const sizeOf = (state) => [state.image.height, state.image.width];

/** The frames that are encoded, as `predict` takes them: x, y, width, height. */
export const readyFrames = (state) =>
  state.frames.filter((frame) => frame.ready).map((frame) => frame.rect);
