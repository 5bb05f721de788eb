/** Asking the model: one request at a time, the newest prompt next, older ones dropped. */

import { waited } from "../core/clock.js";
import { changedBase, hasPrompt, promptKey, promptOf, withAnswer } from "../core/hand.js";
import { answerRect, readAnswer } from "../core/pixels.js";
import { answered, isPractice, pathOf, readyFrames, sizeOf } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { Away, Refused, request } from "../net/api.js";
import { announce, hint, note, now } from "./app.js";
import { answerTook, endHover } from "./hover.js";

const AGAIN_MS = 300;

/** Ask for the mask in hand, unless its answer is there. */
export function askModel(app) {
  const { state, busy } = app;
  const hand = state.hand;
  if (!hand || !hasPrompt(hand) || hand.answerFor === promptKey(hand)) return;
  endHover(app);
  if (!state.session.has_model) {
    hint(app, TEXTS.noModel);
    return;
  }
  if (busy.flying) {
    busy.again = true;
    return;
  }
  busy.flying = fly(app, hand).finally(() => {
    busy.flying = null;
    if (busy.again) {
      busy.again = false;
      askModel(app);
    }
  });
}

async function fly(app, hand) {
  const { state, busy } = app;
  const seq = ++busy.seq;
  const key = promptKey(hand);
  const began = now();
  const { image } = state;
  try {
    const response = await request("POST", `${pathOf(state)}/predict`, {
      lease: state.lease,
      body: bodyOf(state, hand, seq),
    });
    if (state.image !== image) return;
    if (response.status === 202) {
      hint(app, TEXTS.preparing);
      setTimeout(() => askModel(app), AGAIN_MS);
      return;
    }
    const answer = readAnswer(await response.arrayBuffer());
    if (state.image !== image) return;
    hint(app, "");
    waited(app.clock, now() - began, now());
    answerTook(app, 1000 * (now() - began));
    note(null);
    state.where = answer.frame[2] * answer.frame[3] < state.image.width * state.image.height;
    take(app, key, answer);
  } catch (error) {
    if (error instanceof Refused && error.code === "busy") {
      setTimeout(() => askModel(app), AGAIN_MS);
    } else if (error instanceof Refused && error.code === "lease-lost") {
      app.onLeaseLost();
    } else if (error instanceof Refused) {
      hint(app, TEXTS.modelFailed(error.message));
    } else if (error instanceof Away) {
      hint(app, TEXTS.serverGone);
      setTimeout(() => askModel(app), 2000);
    } else {
      throw error;
    }
  }
}

function bodyOf(state, hand, seq) {
  const body = promptOf(hand, seq, readyFrames(state));
  if (!isPractice(state) || !body.base) return body;
  // The server has no masks of the practice picture.
  const mask = state.masks.get(body.base.mask);
  return { ...body, base: mask ? { rle: mask.rle } : null };
}

function take(app, key, answer) {
  const { state } = app;
  const hand = state.hand;
  if (!hand) return;
  if (promptKey(hand) !== key) {
    // Clicks went on meanwhile: what is shown is better than nothing, and the newest is asked for.
    app.busy.again = true;
  }
  const next = withAnswer({ ...hand }, answer);
  if (promptKey(hand) !== key) next.answerFor = key;
  answered(state, next);
  app.marks.answers = (app.marks.answers || 0) + 1;
  if (hand.base && !changedBase(next, sizeOf(state)).found) hint(app, TEXTS.nothingFound);
  else if (isCut(state, next)) hint(app, TEXTS.cut);
  announce(TEXTS.answers(answer.iou.length, TEXTS.candidateNames[next.candidate]));
  app.redraw(true);
}

/** Whether an answer touches a border of its frame that is not one of the image. */
function isCut(state, hand) {
  const [x, y, w, h] = hand.answer.frame;
  const rect = answerRect(hand.answer, hand.candidate);
  if (!rect) return false;
  const { width, height } = state.image;
  return (
    (x > 0 && rect[0] <= x) ||
    (y > 0 && rect[1] <= y) ||
    (x + w < width && rect[2] >= x + w) ||
    (y + h < height && rect[3] >= y + h)
  );
}
