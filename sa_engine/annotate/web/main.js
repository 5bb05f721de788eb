/** The beginning of the page: what it needs, who it is for, and what each key and button does. */

import { setCounting } from "./core/clock.js";
import { uuid } from "./core/ids.js";
import { holds } from "./core/rle.js";
import { sizeOf, undecided } from "./core/state.js";
import { TEXTS } from "./core/texts.js";
import { readGround } from "./canvas/draw.js";
import { fit } from "./canvas/view.js";
import { hint, newApp, note, now, repaintAll } from "./app/app.js";
import { viewMoved } from "./app/frames.js";
import { endHover, newHover } from "./app/hover.js";
import { keepAlive, leave, leaseLost, loadImage, loadNext } from "./app/images.js";
import * as masks from "./app/masks.js";
import { endPractice, practise, stopPractice } from "./app/practice.js";
import { nextProposal } from "./app/proposals.js";
import { saveDraft } from "./app/sending.js";
import { Refused, ask, tabId, takeToken } from "./net/api.js";
import { newOutbox } from "./net/outbox.js";
import { openStore } from "./net/store.js";
import { askOne, showHelp, showLook, showStart } from "./ui/dialogs.js";
import { byId, fill, make } from "./ui/dom.js";
import { listenToKeys } from "./ui/keys.js";
import { showOverview } from "./ui/overview.js";
import { makeTools, showLight, showPanels, showTimer } from "./ui/panels.js";
import { listenToPointers, select } from "./ui/tools.js";
import { makeActions } from "./app/actions.js";

const needed = () =>
  "PointerEvent" in window && "OffscreenCanvas" in window && "createImageBitmap" in window;

function layOut(app) {
  readGround(app.drawing);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readGround(app.drawing);
    app.redraw();
  });
  const canvas = byId("canvas");
  const stage = byId("stage");
  let before = null;
  new ResizeObserver(() => {
    const width = Math.max(1, Math.round(stage.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(stage.clientHeight * devicePixelRatio));
    if (canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
    const { view, state } = app;
    view.x += (width - view.width) / 2;
    view.y += (height - view.height) / 2;
    view.width = width;
    view.height = height;
    if (state.image && before !== state.image.id) fit(view, sizeOf(state));
    before = state.image && state.image.id;
    app.redraw();
  }).observe(stage);
}

/** Which of the screens is seen: "image", "overview" or "none". */
function showScreen(app, name) {
  app.state.screen = name;
  byId("overview").hidden = name !== "overview";
  byId("overview-button").textContent = name === "overview" ? TEXTS.back : TEXTS.overview;
  app.redraw(true);
}

function addActs(app) {
  const { state } = app;
  app.hover = newHover();
  app.practise = () => practise(app);
  app.stopPractice = () => stopPractice(app);
  app.endPractice = () => endPractice(app);
  app.moved = () => {
    endHover(app);
    viewMoved(app);
    app.redraw();
  };
  app.holds = holds;
  app.repaintAll = () => repaintAll(app);
  app.onLeaseLost = () => leaseLost(app);
  app.onOpened = () => {
    showScreen(app, "image");
    byId("done").classList.remove("emphasised");
    app.showBar("same", null);
    byId("canvas").setAttribute("aria-label", `${TEXTS.canvas} ${state.image.name}`);
  };
  app.emphasiseDone = () => byId("done").classList.add("emphasised");
  app.select = (mask) => select(app, mask);
  app.edit = (mask) => masks.takeInHand(app, mask);
  app.setBrush = (size) => {
    state.brush = Math.min(400, Math.max(1, size));
    app.redraw(true);
  };
  app.resizeBrush = (factor) => {
    const size = state.brush * factor;
    app.setBrush(factor > 1 ? Math.ceil(size) : Math.floor(size));
  };
  app.afterFinish = () => {
    if (undecided(state).length && (state.session.mode === "audit" || state.proposal !== null)) {
      nextProposal(app);
    }
  };
  const bars = new Map();
  /** A quiet bar with texts and buttons; null takes it away. */
  app.showBar = (name, children) => {
    const place = byId("bar");
    if (!children && !bars.has(name)) return;
    if (children && bars.has(name) && name === "time") return;
    if (children) bars.set(name, children);
    else bars.delete(name);
    fill(place, ...[...bars.values()].flat());
    place.hidden = !bars.size;
  };
  app.showOverview = async () => {
    if (state.screen === "overview") {
      showScreen(app, state.image ? "image" : "none");
      return;
    }
    try {
      await showOverview((id) => loadImage(app, id));
      showScreen(app, "overview");
    } catch (error) {
      hint(app, error.message || TEXTS.serverGone);
    }
  };
}

function sameAs(app, entry, said) {
  const { state } = app;
  const mask = state.masks.get(said.id);
  if (!mask || !said.same_as || !said.same_as.length) return;
  const other = said.same_as[0];
  const place = [...state.masks.keys()].indexOf(other) + 1;
  if (!place) return;
  const choose = (text, act) =>
    make("button", { type: "button", className: "small", onclick: () => (act(), app.showBar("same", null)) }, [text]);
  app.showBar("same", [
    make("span", {}, [TEXTS.same(place)]),
    choose(TEXTS.drop, () => masks.removeMask(app, said.id)),
    choose(TEXTS.replace, () => masks.removeMask(app, other)),
    choose(TEXTS.keepBoth, () => {}),
  ]);
}

function hearOutbox(app) {
  const { state } = app;
  return {
    onState: (saved, pending) => showLight(app, saved, pending),
    onSent: (entry, said) => {
      const mask = said && said.id && state.masks.get(said.id);
      if (mask && mask.revision === said.revision) {
        mask.saving = false;
        sameAs(app, entry, said);
        app.redraw(true);
      }
    },
    onRefused: (entry, error) => {
      if (error.code === "lease-lost") {
        if (entry.lease === state.lease) app.onLeaseLost();
        return;
      }
      if (error.code === "older") {
        const id = entry.path.split("/").pop();
        const revision = error.details.revision + 1;
        app.revisions.set(id, revision);
        const mask = state.masks.get(id);
        if (mask) mask.revision = revision;
        app.outbox.push(uuid(), entry.method, entry.path, entry.lease, { ...entry.body, revision });
        return;
      }
      hint(app, error.message, 20);
    },
  };
}

function listen(app) {
  const { state } = app;
  const actions = makeActions(app, {
    screen: (name) => showScreen(app, name),
    help: () => showHelp(app),
    look: () => showLook(app),
    skip: async () => {
      if (app.practice) {
        await endPractice(app);
        return;
      }
      const reason = await askOne(TEXTS.skipTitle, TEXTS.skipReasons);
      if (reason) await leave(app, "skipped", reason);
    },
  });
  listenToKeys(app, actions.pressed, actions.released);
  makeTools(app, actions.pressed);
  listenToPointers(app, byId("canvas"));
  byId("done").addEventListener("click", () => actions.pressed.done());
  byId("help-button").addEventListener("click", () => showHelp(app));
  byId("overview-button").addEventListener("click", () => app.showOverview());
  byId("panel-button").addEventListener("click", (event) => {
    const open = byId("side").classList.toggle("open");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });
  const counting = () => setCounting(app.clock, !document.hidden && document.hasFocus(), now());
  document.addEventListener("visibilitychange", () => {
    counting();
    if (document.hidden) saveDraft(app);
  });
  window.addEventListener("focus", counting);
  window.addEventListener("blur", counting);
  window.addEventListener("online", () => app.outbox && app.outbox.hurry());
  window.addEventListener("pagehide", () => saveDraft(app));
  window.addEventListener("beforeunload", (event) => {
    if (app.outbox && app.outbox.pending()) event.preventDefault();
  });
  window.addEventListener("hashchange", () => {
    if (location.hash === "#overview") app.showOverview();
  });
  setInterval(() => showTimer(app), 500);
  app.listeners.push(showPanels);
  app.listeners.push(() => {
    if (state.hand === null) app.showBar("time", null);
  });
}

async function start() {
  for (const [id, text] of [
    ["done", TEXTS.done],
    ["help-button", TEXTS.help],
    ["overview-button", TEXTS.overview],
    ["panel-button", TEXTS.panel],
  ]) {
    byId(id).textContent = text;
  }
  if (!needed()) {
    note(TEXTS.oldBrowser);
    return;
  }
  if (!takeToken()) {
    note(TEXTS.badToken);
    return;
  }
  const app = newApp(byId("canvas"));
  globalThis.annotate = app;
  app.tab = await tabId(uuid);
  addActs(app);
  app.sendDraft = () => {};
  layOut(app);
  for (;;) {
    try {
      app.state.session = await ask("GET", "/api/session");
      break;
    } catch (error) {
      note(error instanceof Refused ? TEXTS.badToken : TEXTS.serverGone);
      if (error instanceof Refused) return;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  note(null);
  const { session } = app.state;
  app.store = await openStore();
  app.outbox = await newOutbox(app.store, `${session.work} ${session.annotator}`, hearOutbox(app));
  listen(app);
  keepAlive(app);
  app.redraw(true);
  const practises = await showStart(app);
  if (location.hash === "#overview") app.showOverview();
  if (practises && (await practise(app))) return;
  // What an earlier page left goes first: the server must know it before it gives an image.
  await app.outbox.emptied();
  await loadNext(app);
}

start().catch((error) => {
  note(String(error.message || error));
  throw error;
});
