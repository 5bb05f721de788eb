/** Dialogs: the start, help with keys that can be changed, a question with a few answers, the look. */

import { ACTION_TEXTS, TEXTS } from "../core/texts.js";
import { DEFAULT_KEYS, keyLabel, keyName, readKeys, writeKeys } from "./keys.js";
import { byId, fill, make } from "./dom.js";

const SEEN = "sa-engine-start-seen";

const button = (text, onclick, className = "") =>
  make("button", { type: "button", className, onclick }, [text]);

const rulesOf = (app) =>
  make(
    "ol",
    { className: "rules" },
    (app.state.session.mode === "audit" ? TEXTS.auditRules : TEXTS.rules).map((rule) =>
      make("li", {}, [rule]),
    ),
  );

/** What to do, once per browser. Resolves when it is closed: whether to practise first. */
export function showStart(app) {
  if (localStorage.getItem(SEEN)) return Promise.resolve(false);
  const dialog = byId("start");
  let practises = false;
  fill(
    dialog,
    make("h1", { id: "start-title" }, [TEXTS.startTitle]),
    rulesOf(app),
    make("p", { className: "muted" }, [TEXTS.practiceOffer]),
    make("p", { className: "actions" }, [
      button(TEXTS.practise, () => {
        practises = true;
        dialog.close();
      }),
      button(TEXTS.begin, () => dialog.close(), "primary"),
    ]),
  );
  dialog.showModal();
  dialog.querySelector(".primary").focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        localStorage.setItem(SEEN, "yes");
        resolve(practises);
      },
      { once: true },
    );
  });
}

/** Keys and rules; keys can be changed. */
export function showHelp(app) {
  const dialog = byId("help");
  const redraw = () => {
    const single = make("input", {
      type: "checkbox",
      checked: app.keys.single,
      onchange: (event) => keep(app, { single: event.target.checked }),
    });
    fill(
      dialog,
      make("h1", { id: "help-title" }, [TEXTS.helpTitle]),
      rulesOf(app),
      app.practice ? null : make("p", {}, [practiseFrom(app, dialog)]),
      make("label", { className: "check" }, [single, ` ${TEXTS.singleKeys}`]),
      make("div", { className: "keytable" }, Object.keys(DEFAULT_KEYS).map((action) => keyRow(app, action, redraw))),
      make("p", { className: "actions" }, [
        button(TEXTS.resetKeys, () => {
          keep(app, { keys: {} });
          redraw();
        }),
        button(TEXTS.close, () => dialog.close(), "primary"),
      ]),
    );
  };
  redraw();
  dialog.showModal();
}

const practiseFrom = (app, dialog) =>
  button(TEXTS.practise, () => {
    dialog.close();
    app.practise();
  });

function keyRow(app, action, redraw) {
  const keys = app.keys.keys[action].map((key) => make("kbd", {}, [keyLabel(key)]));
  const change = button(TEXTS.change, () => {
    change.textContent = TEXTS.pressKey;
    const listen = (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
      change.removeEventListener("keydown", listen);
      if (event.key !== "Escape") {
        keep(app, { keys: { ...app.keys.keys, [action]: [keyName(event)] } });
      }
      redraw();
    };
    change.addEventListener("keydown", listen);
  });
  change.setAttribute("aria-label", `${TEXTS.change}: ${ACTION_TEXTS[action]}`);
  change.className = "small";
  return make("div", { className: "keyrow" }, [
    make("span", { className: "keys-of" }, keys),
    make("span", {}, [ACTION_TEXTS[action]]),
    change,
  ]);
}

function keep(app, said) {
  const now = { keys: app.keys.keys, single: app.keys.single, ...said };
  writeKeys(now);
  app.keys = readKeys();
  app.redraw(true);
}

/** A question; resolves with the answer, or null. */
export function askOne(title, answers) {
  const dialog = byId("ask");
  return new Promise((resolve) => {
    let chosen = null;
    const pick = (answer) => {
      chosen = answer;
      dialog.close();
    };
    fill(
      dialog,
      make("h1", { id: "ask-title" }, [title]),
      make("p", { className: "answers" }, answers.map((each) => button(each, () => pick(each)))),
      make("p", { className: "actions" }, [button(TEXTS.cancel, () => dialog.close())]),
    );
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
  });
}

/** Brightness and contrast, for display only. */
export function showLook(app) {
  const dialog = byId("ask");
  const slider = (text, key) =>
    make("label", { className: "slider" }, [
      text,
      make("input", {
        type: "range",
        min: "20",
        max: "300",
        value: String(app.state.look[key]),
        oninput: (event) => {
          app.state.look[key] = Number(event.target.value);
          app.redraw();
        },
      }),
    ]);
  fill(
    dialog,
    make("h1", { id: "ask-title" }, [TEXTS.look]),
    slider(TEXTS.brightness, "brightness"),
    slider(TEXTS.contrast, "contrast"),
    make("p", { className: "actions" }, [button(TEXTS.close, () => dialog.close(), "primary")]),
  );
  dialog.showModal();
}
