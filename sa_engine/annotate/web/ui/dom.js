/** Small helpers for elements. Texts are always set as text, never as HTML. */

/** @param {string} tag @param {object} [properties] @param {(Node|string)[]} [children] */
export function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("aria-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Put children in place of what an element had. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null));
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of lines, 24 units wide. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** An SVG polyline chart of values over places. */
export function lineChart(values, { width = 560, height = 120, label }) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.classList.add("chart");
  const most = Math.max(...values, 1);
  const at = (value, i) =>
    `${30 + (i / Math.max(1, values.length - 1)) * (width - 40)},${height - 18 - (value / most) * (height - 30)}`;
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", values.map(at).join(" "));
  svg.append(line);
  for (const [text, y] of [
    [most.toFixed(0), 14],
    ["0", height - 18],
  ]) {
    const mark = document.createElementNS(SVG, "text");
    mark.setAttribute("x", "0");
    mark.setAttribute("y", String(y));
    mark.textContent = text;
    svg.append(mark);
  }
  return svg;
}
