/** Images: the next one, its lease, its draft, and leaving it. */

import { close, newClock } from "../core/clock.js";
import { fromDraft, hasPrompt } from "../core/hand.js";
import { uuid } from "../core/ids.js";
import { runEnds } from "../core/rle.js";
import { openImage, sizeOf, undecided } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { newLayer } from "../canvas/layer.js";
import { closePicture, loadPicture } from "../canvas/picture.js";
import { fit } from "../canvas/view.js";
import { Away, Refused, ask, request } from "../net/api.js";
import { hint, note, now, repaintAll } from "./app.js";
import { askModel } from "./asking.js";
import { endHover } from "./hover.js";
import { finish, syncHand } from "./masks.js";
import { nextProposal } from "./proposals.js";
import { saveDraft } from "./sending.js";

const RENEW_MS = 20000;
const DRAFT_MS = 5000;
const POLL_MS = 4000;

/** Ask for the next image until there is one. */
export async function loadNext(app, after) {
  await load(app, () => ask("POST", "/api/next", { body: { tab: app.tab, after } }));
}

/** One image by its id. */
export async function loadImage(app, id) {
  app.stopPractice();
  await app.outbox.emptied();
  await giveBack(app);
  await load(app, () => ask("POST", `/api/images/${id}/open`, { body: { tab: app.tab } }));
}

async function load(app, get) {
  const { state } = app;
  app.stopPractice();
  const turn = ++app.loads;
  note(TEXTS.waitNext);
  for (;;) {
    try {
      const given = await get();
      if (turn !== app.loads) return;
      if (given) {
        await show(app, given);
        return;
      }
      closeImage(app);
      const session = await ask("GET", "/api/session");
      state.session = session;
      if (session.counts.open === 0) {
        note(TEXTS.allDone);
        app.redraw(true);
        return;
      }
      note(TEXTS.noneLeft);
    } catch (error) {
      if (error instanceof Refused && error.status < 500 && error.status !== 429) {
        note(error.status === 401 ? TEXTS.badToken : error.message);
        return;
      }
      if (!(error instanceof Away) && !(error instanceof Refused)) throw error;
      note(TEXTS.serverGone);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function closeImage(app) {
  endHover(app);
  closePicture(app.drawing.picture);
  Object.assign(app.drawing, { picture: null, layer: null, overlay: null });
  Object.assign(app.state, { image: null, lease: null, hand: null, proposals: [], existing: [] });
  app.state.masks.clear();
  app.redraw(true);
}

async function show(app, given) {
  const { state } = app;
  closeImage(app);
  let picture;
  try {
    picture = await loadPicture(given.image);
  } catch (error) {
    if (error instanceof Away) throw error;
    note(TEXTS.imageFailed(error.message));
    return;
  }
  if (app.practice) {
    closePicture(picture);
    return;
  }
  state.session.counts = given.counts;
  putUp(app, given, picture);
  takeDraft(app, given.image.draft);
  if (state.session.mode === "audit") nextProposal(app);
  app.redraw(true);
}

/** Begin on an image whose picture is there; nothing of one before is closed. */
export function putUp(app, given, picture) {
  const { state, drawing, view } = app;
  openImage(state, given);
  app.revisions = new Map(given.image.masks.map((mask) => [mask.id, mask.revision]));
  Object.assign(drawing, { picture, layer: newLayer(sizeOf(state)), overlay: null });
  fit(view, sizeOf(state));
  note(null);
  app.clock = newClock(now());
  repaintAll(app);
  app.onOpened();
  app.redraw(true);
}

function takeDraft(app, draft) {
  const { state } = app;
  if (!draft) return;
  let base = null;
  if (draft.base) {
    const mask =
      state.masks.get(draft.base.mask) ||
      state.proposals.find((each) => each.id === draft.base.proposal);
    if (!mask) return;
    const [x, y, w, h] = mask.box;
    base = { ref: draft.base, ends: runEnds(mask.rle.counts), rect: [x, y, x + w, y + h] };
  }
  state.hand = fromDraft(draft, base);
  syncHand(app);
  if (hasPrompt(state.hand)) askModel(app);
}

/** Done, or skipped: a mask in hand is finished first. */
export async function leave(app, said, reason) {
  const { state, outbox } = app;
  if (!state.image) return;
  if (app.practice) {
    await app.endPractice();
    return;
  }
  if (said === "done" && state.hand && !finish(app)) return;
  if (said === "done" && state.session.mode === "audit" && undecided(state).length) {
    hint(app, TEXTS.auditLeft(undecided(state).length));
    if (state.proposal === null) nextProposal(app);
    return;
  }
  const { id } = state.image;
  const clock = [close(app.clock, uuid(), now())];
  outbox.push(uuid(), "PUT", `/api/images/${id}/state`, state.lease, { state: said, reason, clock });
  app.history = [...(app.history || []).filter((each) => each !== id), id];
  note(TEXTS.waitNext);
  await outbox.emptied();
  await loadNext(app, id);
}

/** The image that this annotator had before (-1) or after (1) the one at hand. */
export async function turnPage(app, step) {
  app.stopPractice();
  const every = app.history || [];
  const id = app.state.image ? app.state.image.id : null;
  const at = every.indexOf(id);
  const next = at < 0 ? (step < 0 ? every[every.length - 1] : undefined) : every[at + step];
  if (next !== undefined) await loadImage(app, next);
  else if (step > 0) await loadNext(app);
}

async function giveBack(app) {
  const { state } = app;
  if (!state.image) return;
  try {
    await request("DELETE", `/api/images/${state.image.id}/lease`, { lease: state.lease });
  } catch {
    // It ends by itself.
  }
}

/** Keep the lease while the page is open, and the draft while a mask is in hand. */
export function keepAlive(app) {
  const { state } = app;
  setInterval(async () => {
    const { image, lease } = app.practice ? app.practice.state : state;
    if (!image) return;
    const { id } = image;
    try {
      const said = await ask("POST", `/api/images/${id}/lease`, { lease });
      state.session.counts = said.counts;
      if (said.model) state.session.model = said.model;
      app.redraw(true);
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "lease-lost") return;
      if (app.practice && lease === app.practice.state.lease) app.practice.lost = true;
      else if (lease === state.lease) app.onLeaseLost();
    }
  }, RENEW_MS);
  let before = "null";
  app.sendDraft = (hand, keepalive = false) => {
    if (!state.image || app.practice) return;
    const text = JSON.stringify(hand);
    const key = `${state.image.id} ${text}`;
    if (key === before) return;
    before = key;
    const options = { lease: state.lease, body: { draft: hand }, keepalive };
    // A browser sends at most 64 kB after a page is gone.
    if (keepalive && text.length > 60000) options.keepalive = false;
    request("PUT", `/api/images/${state.image.id}/draft`, options).catch(() => {
      before = "";
    });
  };
  setInterval(() => saveDraft(app), DRAFT_MS);
}

/** Somebody else has the image: what was finished has been sent, and is kept aside there. */
export function leaseLost(app) {
  const { state } = app;
  if (!state.image) return;
  const { id } = state.image;
  hint(app, TEXTS.leaseLost, 20);
  loadNext(app, id);
}
