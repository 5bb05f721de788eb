/** What the server is told, by way of the outbox. */

import { isEmpty, toDraft } from "../core/hand.js";
import { uuid } from "../core/ids.js";

export function sendMask(app, mask, clock) {
  const { state, outbox } = app;
  outbox.push(uuid(), "PUT", `/api/images/${state.image.id}/masks/${mask.id}`, state.lease, {
    ...(mask.detail || { how: mask.how, proposal: mask.proposal }),
    revision: mask.revision,
    rle: mask.rle,
    clock,
  });
}

export function sendRemoval(app, id, revision, clock) {
  const { state, outbox } = app;
  outbox.push(uuid(), "DELETE", `/api/images/${state.image.id}/masks/${id}`, state.lease, {
    revision,
    clock,
  });
}

export function sendVerdict(app, id, verdict, clock) {
  const { state, outbox } = app;
  outbox.push(uuid(), "PUT", `/api/images/${state.image.id}/proposals/${id}`, state.lease, {
    verdict,
    clock,
  });
}

/** Keep the mask in hand on the server and in this browser, so that neither's death loses it. */
export function saveDraft(app) {
  const { state } = app;
  const hand = state.hand && !isEmpty(state.hand) ? toDraft(state.hand) : null;
  app.sendDraft(hand);
}
