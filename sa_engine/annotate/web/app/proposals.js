/** Proposals: kept, rejected, gone through. */

import { close } from "../core/clock.js";
import { uuid } from "../core/ids.js";
import { record, sizeOf, undecided } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { reveal } from "../canvas/view.js";
import { announce, hint, now, repaint } from "./app.js";
import { begun } from "./masks.js";
import { sendVerdict } from "./sending.js";

/** Decide on a proposal. @param {"kept"|"rejected"|"undecided"} verdict */
export function decide(app, id, verdict) {
  const { state } = app;
  const proposal = state.proposals.find((each) => each.id === id);
  if (!proposal || proposal.verdict === verdict) return;
  begun(app);
  const clock = [close(app.clock, uuid(), now())];
  record(state, { before: null, after: null, verdicts: [{ id, prev: proposal.verdict, next: verdict }] });
  proposal.verdict = verdict;
  sendVerdict(app, id, verdict, clock);
  repaint(app, proposal.box);
  app.afterFinish();
}

/** Keep all that nobody has decided on: one step of undo, and no mask's seconds. */
export function keepAll(app) {
  const { state } = app;
  const left = undecided(state);
  if (!left.length) return;
  const verdicts = left.map((each) => ({ id: each.id, prev: each.verdict, next: "kept" }));
  record(state, { before: null, after: null, verdicts });
  for (const each of left) {
    each.verdict = "kept";
    sendVerdict(app, each.id, "kept", []);
  }
  hint(app, TEXTS.keptAll(left.length));
  app.repaintAll();
}

/** Go to the next undecided proposal, or the one before. */
export function nextProposal(app, step = 1) {
  const { state, view } = app;
  const left = undecided(state);
  if (!left.length) {
    state.proposal = null;
    app.redraw(true);
    return;
  }
  const at = left.findIndex((each) => each.id === state.proposal);
  const next = left[at < 0 ? (step > 0 ? 0 : left.length - 1) : (at + step + left.length) % left.length];
  state.proposal = next.id;
  state.selected = null;
  if (reveal(view, next.box, sizeOf(state))) app.moved();
  announce(TEXTS.proposalSaid(left.indexOf(next) + 1, left.length, (next.score ?? 0).toFixed(2)));
  app.redraw(true);
}
