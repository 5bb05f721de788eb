/** What stands around the canvas. Reads the state, and calls actions. */

import { FINISHED, IN_HAND, css } from "../core/palette.js";
import { isPractice, undecided, verdicts } from "../core/state.js";
import { TEXTS } from "../core/texts.js";
import { chooseCandidate, remove, secondsInHand, takeInHand } from "../app/masks.js";
import { decide } from "../app/proposals.js";
import { keyLabel, keysNow } from "./keys.js";
import { byId, fill, icon, make } from "./dom.js";
import { select } from "./tools.js";

const ICONS = {
  click: "M5 3l6 16 2.3-6.7L20 10z",
  box: "M4 6h16v12H4z",
  brush: "M20 4L10 14M10 14c-3-1-5 1-5 3 0 1-1 2-2 2 2 2 8 1 9-3z",
  eraser: "M8 20h12M4 14l9-9 7 7-8 8H8z",
  select: "M4 4h4M4 4v4M20 4h-4M20 4v4M4 20h4M4 20v-4M20 20h-4M20 20v-4M9 12h6M12 9v6",
};

/** The buttons at the left. */
export function makeTools(app, actions) {
  const nav = byId("tools");
  const buttons = Object.keys(ICONS).map((tool) => {
    const action = `tool${tool[0].toUpperCase()}${tool.slice(1)}`;
    const key = keyLabel(app.keys.keys[action][0]);
    return make(
      "button",
      {
        type: "button",
        className: "tool",
        title: `${TEXTS.tools[tool]} (${key})`,
        "aria-label": TEXTS.tools[tool],
        data: { tool },
        onclick: () => actions[action](),
      },
      [icon(ICONS[tool]), make("kbd", {}, [key])],
    );
  });
  const size = make("input", {
    type: "range",
    id: "brush-size",
    min: "0",
    max: "100",
    "aria-label": TEXTS.brush,
    oninput: (event) => app.setBrush(Math.round(400 ** (event.target.value / 100))),
  });
  const shown = make("output", { id: "brush-shown", for: "brush-size" });
  fill(nav, ...buttons, make("label", { className: "size" }, [TEXTS.brush, size, shown]));
}

/** Bring every panel up to the state. */
export function showPanels(app) {
  const { state } = app;
  const { session, image } = state;
  byId("name").textContent = image ? image.name : "";
  byId("place").textContent = placeText(state);
  byId("size").textContent = image ? `${image.width}×${image.height}` : "";
  byId("who").textContent = session ? session.annotator : "";
  byId("model").textContent = modelText(state);
  byId("done").disabled = !image;
  byId("done").textContent = app.practice ? doneText(app.practice.state) : TEXTS.done;
  for (const button of byId("tools").querySelectorAll(".tool")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === state.tool));
  }
  const size = byId("brush-size");
  if (size && document.activeElement !== size) {
    size.value = String(Math.round((100 * Math.log(state.brush)) / Math.log(400)));
  }
  byId("brush-shown").textContent = `${Math.round(state.brush)} px`;
  byId("keys").textContent = image ? keysNow(state, app.hover) : "";
  showMasks(app);
  showProposals(app);
  showCandidates(app);
}

const doneText = ({ image }) => (image ? TEXTS.back : TEXTS.begin);

/** Of an audit: which of the image's masks is in question. */
function placeText(state) {
  const { image, session, proposals } = state;
  if (!image || !session || isPractice(state)) return "";
  const { total, open } = session.counts;
  const place = TEXTS.placeOf(image.place, total, total - open);
  if (session.mode !== "audit" || !proposals.length) return place;
  const decided = proposals.length - undecided(state).length;
  return `${place}, ${TEXTS.auditPlace(Math.min(decided + 1, proposals.length), proposals.length)}`;
}

function modelText({ session, image, where }) {
  if (!session) return "";
  if (!session.has_model) return TEXTS.modelNone;
  const model = (image && image.model) || session.model;
  if (!model) return session.model_error || TEXTS.modelLoading;
  const name = `${model.name} ${model.sha256.slice(0, 6)}`;
  return TEXTS.modelAt(name, where ? TEXTS.view : TEXTS.image);
}

const swatch = (rgb) => {
  const square = make("span", { className: "swatch", "aria-hidden": "true" });
  square.style.background = css(rgb);
  return square;
};

function row(app, mask, { text, aside, onOpen }) {
  const { state } = app;
  const item = make(
    "li",
    {
      tabIndex: -1,
      data: { id: mask.id },
      onpointerenter: () => ((state.hovered = mask.id), app.redraw()),
      onpointerleave: () => ((state.hovered = null), app.redraw()),
      onclick: () => select(app, mask),
      ondblclick: () => onOpen(),
      onkeydown: (event) => rowKey(app, event, mask, onOpen),
    },
    [
      swatch(FINISHED[mask.colour % FINISHED.length]),
      make("span", { className: "text" }, [text]),
      make("span", { className: "muted" }, [aside]),
    ],
  );
  return item;
}

function rowKey(app, event, mask, onOpen) {
  const item = event.currentTarget;
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (step) {
    const other = item[step];
    if (other) {
      other.click();
      byIdFocus(other.dataset.id);
    }
  } else if (event.key === "Enter") onOpen();
  else if (event.key === " ") select(app, mask);
  else if (event.key === "Delete" || event.key === "Backspace") {
    select(app, mask);
    remove(app);
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

/** Focus a row after the lists were made again. */
function byIdFocus(id) {
  requestAnimationFrame(() => {
    const row = document.querySelector(`.list li[data-id="${CSS.escape(id)}"]`);
    if (row) row.focus();
  });
}

/** Make a list again only where it is another; else only say which row is the current one. */
function showList(place, key, current, rows) {
  if (place.shownKey !== key) {
    fill(place, ...rows());
    place.shownKey = key;
  }
  const before = place.querySelector(".current");
  const now = current === null ? null : place.querySelector(`[data-id="${CSS.escape(current)}"]`);
  if (before && before !== now) {
    before.classList.remove("current");
    before.tabIndex = -1;
  }
  if (now) now.classList.add("current");
  const entry = now || place.firstElementChild;
  if (entry) entry.tabIndex = 0;
}

function showMasks(app) {
  const { state } = app;
  byId("masks-title").textContent = TEXTS.masks;
  byId("masks-count").textContent = String(state.masks.size + state.existing.length || "");
  const every = [...state.masks.values()];
  const key = every.map((mask) => `${mask.id} ${mask.revision} ${mask.saving}`).join();
  showList(byId("masks"), key, state.selected, () =>
    every
      .map((mask, place) =>
        row(app, mask, {
          text: `${place + 1}`,
          aside: mask.saving ? TEXTS.unsaved : aside(mask),
          onOpen: () => app.edit(mask),
        }),
      )
      .reverse(),
  );
}

const aside = (mask) =>
  mask.how === "edited" ? `${TEXTS.edited} ${TEXTS.seconds(mask.seconds)}` : TEXTS.seconds(mask.seconds);

const MARKS = { undecided: "?", kept: "✓", rejected: "✗", edited: "✎" };

function showProposals(app) {
  const { state } = app;
  const said = verdicts(state);
  const decided = state.proposals.filter((each) => said.get(each.id) !== "undecided");
  byId("proposals-part").hidden = !state.proposals.length;
  byId("proposals-title").textContent = TEXTS.proposals;
  byId("proposals-count").textContent = `${decided.length}/${state.proposals.length}`;
  const key = state.proposals.map((each) => `${each.id} ${said.get(each.id)}`).join();
  const open = (each) =>
    said.get(each.id) === "undecided" ? takeInHand(app, each) : decide(app, each.id, "undecided");
  showList(byId("proposals"), key, state.proposal, () =>
    state.proposals.map((each, place) =>
      row(app, each, {
        text: `${MARKS[said.get(each.id)]} ${place + 1}`,
        aside: each.score === null ? "" : each.score.toFixed(2),
        onOpen: () => open(each),
      }),
    ),
  );
}

const THUMB = [96, 72];
let shownAnswer = null;

function showCandidates(app) {
  const { hand } = app.state;
  const place = byId("candidates");
  const answer = hand && hand.answer;
  if (!answer || answer.iou.length < 2) {
    if (place.childElementCount) fill(place);
    shownAnswer = null;
    return;
  }
  if (shownAnswer !== answer) {
    shownAnswer = answer;
    fill(place, ...answer.iou.map((iou, k) => candidate(app, answer, k, iou)));
  }
  [...place.children].forEach((button, k) => {
    button.setAttribute("aria-pressed", String(k === hand.candidate));
  });
}

function candidate(app, answer, k, iou) {
  const canvas = make("canvas", { width: THUMB[0], height: THUMB[1] });
  thumbnail(app, canvas, answer, k);
  const name = TEXTS.candidateNames[k];
  return make(
    "button",
    {
      type: "button",
      className: "candidate",
      "aria-label": `${k + 1} ${name}, ${iou.toFixed(2)}`,
      onclick: () => chooseCandidate(app, k),
    },
    [canvas, make("span", {}, [make("kbd", {}, [String(k + 1)]), ` ${name} ${iou.toFixed(2)}`])],
  );
}

function thumbnail(app, canvas, answer, k) {
  const context = canvas.getContext("2d");
  const { levels } = app.drawing.picture;
  const source = levels[levels.length - 1];
  const { width } = app.state.image;
  const [fx, fy, fw, fh] = answer.frame;
  const ratio = source.width / width;
  const scale = Math.min(THUMB[0] / fw, THUMB[1] / fh);
  const [w, h] = [fw * scale, fh * scale];
  const [x, y] = [(THUMB[0] - w) / 2, (THUMB[1] - h) / 2];
  context.drawImage(source, fx * ratio, fy * ratio, fw * ratio, fh * ratio, x, y, w, h);
  // A thumbnail needs no more than the model's own resolution.
  const [rows, columns] = answer.input_hw.map((size) => Math.ceil(size / 4));
  const image = new ImageData(columns, rows);
  const [r, g, b] = IN_HAND;
  const pixel = ((190 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const pixels = new Uint32Array(image.data.buffer);
  const logits = answer.logits[k];
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      if (logits[row * answer.side + column] > 0) pixels[at] = pixel;
    }
  }
  const layer = new OffscreenCanvas(columns, rows);
  layer.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(layer, x, y, w, h);
}

/** The seconds of the mask in hand, and the hint of the guidelines; twice a second. */
export function showTimer(app) {
  const { state } = app;
  const seconds = state.image ? secondsInHand(app) : 0;
  byId("timer").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const limit = state.session ? state.session.hint_seconds : 0;
  const over = limit > 0 && state.hand && app.clock.sums.work > limit;
  app.showBar("time", over ? [TEXTS.overTime(limit)] : null);
}

/** The save light. */
export function showLight(app, saved, pending) {
  const light = byId("light");
  light.dataset.state = saved;
  light.textContent = {
    saved: TEXTS.saved,
    practice: TEXTS.notKept,
    saving: TEXTS.saving,
    away: TEXTS.away(pending),
    disk: TEXTS.disk(pending),
    token: TEXTS.badToken,
  }[saved];
}
