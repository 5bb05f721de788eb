/** How far everybody is: images by state, people, seconds a mask. */

import { TEXTS } from "../core/texts.js";
import { ask } from "../net/api.js";
import { byId, fill, lineChart, make } from "./dom.js";

const cell = (text, className = "") => make("td", { className }, [text]);

function table(title, rows) {
  if (!rows.length) return null;
  return make("section", {}, [make("h2", {}, [title]), make("table", {}, [make("tbody", {}, rows)])]);
}

const timing = (each, name) =>
  make("tr", {}, [cell(name), cell(String(each.masks), "number"), cell(TEXTS.seconds(each.median_s), "number")]);

/** @param {(id: number) => void} open  an image by its id */
export async function showOverview(open) {
  const said = await ask("GET", "/api/overview");
  const { counts } = said;
  const handled = counts.total - counts.open;
  const images = said.images.map((image) =>
    make("tr", { data: { state: image.state } }, [
      cell(String(image.id), "number"),
      cell(image.name),
      cell(TEXTS.states[image.state], `state ${image.state}`),
      cell(image.late ? TEXTS.withLate(image.masks, image.late) : String(image.masks), "number"),
      cell(image.held_by ? `${image.held_by} ${TEXTS.here}` : image.by || ""),
      cell(image.reason || ""),
      make("td", {}, [
        make("button", { type: "button", className: "small", onclick: () => open(image.id), "aria-label": `${TEXTS.reopen} ${image.name}` }, [TEXTS.reopen]),
      ]),
    ]),
  );
  fill(
    byId("overview"),
    make("h1", {}, [TEXTS.overviewTitle]),
    make("p", { className: "big" }, [
      TEXTS.overviewCounts(handled, counts.total, counts.masks),
      ...(said.median_s === null ? [] : [` · ${TEXTS.median(said.median_s)}`]),
    ]),
    said.model_error ? make("p", { className: "error" }, [said.model_error]) : null,
    said.curve.length > 1
      ? make("section", {}, [
          make("h2", {}, [TEXTS.curveTitle]),
          lineChart(said.curve.map((each) => each.median_s), { label: TEXTS.curveTitle }),
        ])
      : null,
    table(TEXTS.annotators, said.annotators.map((each) => timing(each, each.by))),
    table(TEXTS.models, said.models.map((each) => timing(each, each.model ? each.model.slice(0, 12) : TEXTS.modelNone))),
    table(TEXTS.imagesTitle, images),
  );
}
