/** Encoding the view: zoomed in, clicks are answered from an embedding of what is seen. */

import { hasPrompt } from "../core/hand.js";
import { pathOf, sizeOf } from "../core/state.js";
import { frameOf } from "../canvas/view.js";
import { Away, ask } from "../net/api.js";
import { askModel } from "./asking.js";

const STILL_MS = 300;
const KEPT = 8;
const FAST_S = 2;

/** The view has moved: once it is still, ask for its frame, where that takes no long. */
export function viewMoved(app) {
  clearTimeout(app.stillTimer);
  const { session, image } = app.state;
  if (!session || !session.has_model) return;
  const model = (image && image.model) || session.model;
  if (model && model.encode_s > FAST_S) return;
  app.stillTimer = setTimeout(() => sharpen(app), STILL_MS);
}

/** Ask for a frame of the view. */
export async function sharpen(app, share = 0.6) {
  const { state } = app;
  if (!state.image || !state.session.has_model) return;
  const rect = frameOf(app.view, sizeOf(state), share);
  if (!rect) return;
  const name = rect.join(",");
  if (state.frames.some((frame) => frame.name === name)) return;
  const frame = { name, rect, ready: false };
  state.frames.push(frame);
  if (state.frames.length > KEPT) state.frames.shift();
  await wait(app, frame, pathOf(state), state.lease);
}

async function wait(app, frame, path, lease) {
  const { state } = app;
  while (state.lease === lease && state.frames.includes(frame)) {
    try {
      const said = await ask("PUT", `${path}/frames`, {
        lease,
        body: { rect: frame.rect },
      });
      if (said.ready) {
        frame.ready = true;
        askAgain(app, frame.rect);
        app.redraw(true);
        return;
      }
    } catch (error) {
      if (!(error instanceof Away)) {
        state.frames = state.frames.filter((each) => each !== frame);
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

/** A sharper answer, once, if all prompts lie inside and nothing was painted. */
function askAgain(app, [x, y, w, h]) {
  const { hand } = app.state;
  if (!hand || !hasPrompt(hand) || hand.strokes.length || !hand.answer) return;
  const corners = hand.box ? [hand.box.slice(0, 2), hand.box.slice(2)] : [];
  const inside = [...hand.points, ...corners].every(
    ([px, py]) => px >= x && px <= x + w && py >= y && py <= y + h,
  );
  if (!inside) return;
  app.state.hand = { ...hand, answerFor: "" };
  const last = app.state.past[app.state.past.length - 1];
  if (last && last.after === hand) last.after = app.state.hand;
  askModel(app);
}
