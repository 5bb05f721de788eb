/**
 * Practice: a picture that the server draws, with the real model and the real tools, and nothing of it
 * is kept. The image at hand is laid aside meanwhile, with its clock stopped.
 */

import { setCounting } from "../core/clock.js";
import { partOfImage } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { closePicture, loadPicture } from "../canvas/picture.js";
import { Away, Refused, ask } from "../net/api.js";
import { showLight } from "../ui/panels.js";
import { hint, now } from "./app.js";
import { askModel } from "./asking.js";
import { endHover } from "./hover.js";
import { loadNext, putUp } from "./images.js";
import { saveDraft } from "./sending.js";

const PATIENCE_MS = 3000;

/** An outbox that forgets: everything counts as acknowledged. */
const nowhere = (app) => ({
  push() {
    for (const mask of app.state.masks.values()) mask.saving = false;
    app.redraw(true);
  },
  hurry() {},
  emptied: () => Promise.resolve(),
  pending: () => 0,
  state: () => "saved",
});

/** Show the practice picture. @returns {Promise<boolean>} false if it cannot be had */
export async function practise(app) {
  if (app.practice) return true;
  let given;
  let picture;
  try {
    given = await ask("POST", "/api/practice");
    picture = await loadPicture(given.image);
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Away)) throw error;
    hint(app, error instanceof Refused ? error.message : TEXTS.serverGone);
    return false;
  }
  // What was done in earnest is acknowledged first: then nothing of it is on its way meanwhile.
  saveDraft(app);
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  await Promise.race([app.outbox.emptied(), patience]);
  if (app.practice || app.outbox.pending()) {
    closePicture(picture);
    if (!app.practice) hint(app, TEXTS.serverGone);
    return app.practice !== null;
  }
  layAside(app);
  putUp(app, given, picture);
  showLight(app, "practice", 0);
  app.showBar("practice", [TEXTS.practice(app.state.session.has_model)]);
  return true;
}

function layAside(app) {
  const { state, drawing, view, clock, revisions, outbox } = app;
  endHover(app);
  app.showBar("same", null);
  setCounting(clock, false, now());
  const { picture, layer, overlay } = drawing;
  app.practice = {
    state: partOfImage(state),
    drawing: { picture, layer, overlay },
    app: { clock, revisions, outbox },
    view: { ...view },
    lost: false,
  };
  app.outbox = nowhere(app);
  // Whoever asks for the next image asks again afterwards.
  app.loads++;
}

/** Put the image back that was laid aside, if there was one. */
export function stopPractice(app) {
  const { practice, state, drawing, view } = app;
  if (!practice) return;
  endHover(app);
  app.showBar("practice", null);
  app.showBar("same", null);
  closePicture(drawing.picture);
  app.practice = null;
  Object.assign(state, practice.state);
  Object.assign(drawing, practice.drawing);
  Object.assign(app, practice.app);
  const { scale, x, y, width, height } = practice.view;
  Object.assign(view, { scale, x: x + (view.width - width) / 2, y: y + (view.height - height) / 2 });
  setCounting(app.clock, !document.hidden && document.hasFocus(), now());
  showLight(app, "saved", 0);
  if (state.image) {
    app.onOpened();
    askModel(app);
    app.moved();
  }
  app.redraw(true);
}

/** From practice to the image that was laid aside, or to the next one. */
export async function endPractice(app) {
  const { lost } = app.practice;
  stopPractice(app);
  if (lost) app.onLeaseLost();
  else if (!app.state.image) await loadNext(app);
}
