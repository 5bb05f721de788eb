/** Keys: which action each has, and the one place that listens for them. */

import { TEXTS } from "../core/texts.js";

const STORE = "sa-engine-keys";

/** The keys of each action; a single character is compared by `event.key`, digits by the place. */
export const DEFAULT_KEYS = {
  finish: ["Enter", "f"],
  drop: ["Escape"],
  undo: ["Ctrl+z"],
  redo: ["Ctrl+Shift+Z", "Ctrl+y"],
  done: ["d", "Ctrl+Enter"],
  skip: ["s"],
  toolClick: ["q"],
  toolBox: ["r"],
  toolBrush: ["b"],
  toolEraser: ["e"],
  toolSelect: ["v"],
  candidate1: ["1"],
  candidate2: ["2"],
  candidate3: ["3"],
  candidateNext: ["c"],
  three: ["m"],
  remove: ["Delete", "Backspace"],
  keep: ["a"],
  reject: ["x"],
  keepAll: ["Shift+A"],
  next: ["n"],
  previous: ["Shift+N"],
  pageBefore: ["PageUp"],
  pageAfter: ["PageDown"],
  overview: ["g"],
  zoomIn: ["+", "="],
  zoomOut: ["-"],
  fit: ["0"],
  actual: ["Shift+0"],
  smaller: ["["],
  larger: ["]"],
  hideAll: ["w"],
  hideFinished: ["h"],
  outline: ["o"],
  fainter: [","],
  stronger: ["."],
  look: ["i"],
  hover: ["p"],
  sharpen: ["z"],
  clean: ["k"],
  fill: ["Shift+B"],
  help: ["?", "F1"],
  clickKey: [" "],
  clickBackgroundKey: ["Shift+ "],
  left: ["ArrowLeft", "Shift+ArrowLeft"],
  right: ["ArrowRight", "Shift+ArrowRight"],
  up: ["ArrowUp", "Shift+ArrowUp"],
  down: ["ArrowDown", "Shift+ArrowDown"],
};

/** The name of a key press: modifiers, then the key as it is printed. */
export function keyName(event) {
  let key = event.key;
  // A digit is a place of the keyboard: AZERTY has other characters there.
  if (/^Digit[0-9]$/.test(event.code)) key = event.code.slice(5);
  const shifted = event.shiftKey && (key.length > 1 || /[A-Z0-9 ]/.test(key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shifted ? "Shift+" : ""}${key}`;
}

/** What is shown for a key. */
export const keyLabel = (name) =>
  name.endsWith(" ") ? `${name.slice(0, -1)}Space` : name.length === 1 ? name.toUpperCase() : name;

/** The keys as this annotator wants them: {keys, single}. */
export function readKeys() {
  try {
    const said = JSON.parse(localStorage.getItem(STORE)) || {};
    return { keys: { ...DEFAULT_KEYS, ...said.keys }, single: said.single !== false };
  } catch {
    return { keys: { ...DEFAULT_KEYS }, single: true };
  }
}

export function writeKeys(said) {
  localStorage.setItem(STORE, JSON.stringify(said));
}

/** The action of a key press; undefined for none. */
export function actionOf(event, { keys, single }) {
  const name = keyName(event);
  if (!single && name.length === 1 && name !== " ") return undefined;
  return Object.keys(keys).find((action) => keys[action].includes(name));
}

const TEXTUAL = new Set(["INPUT", "TEXTAREA", "SELECT"]);
const OF_BUTTONS = new Set(["Enter", " "]);

/**
 * Listen. @param {Record<string, (event: KeyboardEvent) => void>} actions  by name
 * @param {Record<string, () => void>} released  when the key of an action is let go
 */
export function listenToKeys(app, actions, released) {
  app.keys = readKeys();
  const held = new Map();
  document.addEventListener("keydown", (event) => {
    app.touch();
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    // A box that was ticked in a dialog may have the focus for a moment after that is closed.
    if (TEXTUAL.has(event.target.tagName) && event.target.type !== "checkbox") return;
    // Buttons and lists keep the keys that press them.
    if (OF_BUTTONS.has(event.key) && event.target.closest("button, li")) return;
    if (app.captureKey && app.captureKey(event)) return;
    const action = actionOf(event, app.keys);
    if (!action || !actions[action]) return;
    event.preventDefault();
    held.set(event.code, action);
    actions[action](event);
  });
  document.addEventListener("keyup", (event) => {
    const action = held.get(event.code);
    held.delete(event.code);
    if (action && released[action]) released[action]();
  });
}

/** The keys that matter now. */
export function keysNow(state, hover) {
  if (state.hand) return TEXTS.keysShort.hand;
  if (state.selected) return TEXTS.keysShort.selected;
  if (state.proposal !== null) {
    return state.session.mode === "audit" ? TEXTS.keysShort.audit : TEXTS.keysShort.proposal;
  }
  if (!state.session.has_model) return TEXTS.keysShort.idle;
  return `${TEXTS.keysShort.idle}   ${TEXTS.hoverState(hover)}`;
}
