/** Masks at the screen's resolution: the mask in hand, and the one that is pointed at. */

import { handRect, sampleHand } from "../core/hand.js";
import { bitsInside } from "../core/rle.js";
import { toCanvas } from "./view.js";

/** For each screen pixel from `from` to `to`, the pixel of the image under its centre. */
function under(from, to, offset, scale, most) {
  const out = new Int32Array(Math.max(0, to - from));
  for (let i = 0; i < out.length; i++) {
    const at = Math.floor((from + i + 0.5 - offset) / scale);
    out[i] = at < 0 ? 0 : at >= most ? most - 1 : at;
  }
  return out;
}

/** The screen rectangle of a rectangle of the image, inside the canvas, with a pixel around. */
function onScreen(view, rect, size) {
  const [ax, ay] = toCanvas(view, rect[0], rect[1]);
  const [bx, by] = toCanvas(view, rect[2], rect[3]);
  const [ix, iy] = toCanvas(view, 0, 0);
  const [jx, jy] = toCanvas(view, size[1], size[0]);
  return [
    Math.max(0, Math.floor(Math.max(ax - 2, ix))),
    Math.max(0, Math.floor(Math.max(ay - 2, iy))),
    Math.min(view.width, Math.ceil(Math.min(bx + 2, jx))),
    Math.min(view.height, Math.ceil(Math.min(by + 2, jy))),
  ];
}

/** Colour bits: a fill, a light line inside and a dark one outside. */
function colour(bits, width, height, [r, g, b], opacity, fill) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const alpha = fill === "outline" ? 0 : Math.round(255 * opacity);
  const inside = ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const own = bits[at];
      const left = x > 0 ? bits[at - 1] : own;
      const right = x < width - 1 ? bits[at + 1] : own;
      const up = y > 0 ? bits[at - width] : own;
      const down = y < height - 1 ? bits[at + width] : own;
      const near = left + right + up + down;
      if (own) pixels[at] = near < 4 ? 0xffffffff : inside;
      else if (near) pixels[at] = 0xff101010;
    }
  }
  return image;
}

/** The mask in hand on the screen: {image, x, y}; null if it is not in sight. */
export function rasterHand(hand, view, size, overlay, rgb, look) {
  const rect = handRect(hand, size);
  if (!rect) return null;
  const [x0, y0, x1, y1] = onScreen(view, rect, size);
  if (x1 <= x0 || y1 <= y0) return null;
  const columns = under(x0, x1, view.x, view.scale, size[1]);
  const rows = under(y0, y1, view.y, view.scale, size[0]);
  const bits = sampleHand(hand, size, columns, rows, overlay);
  return { image: colour(bits, x1 - x0, y1 - y0, rgb, look.opacity + 0.1, look.fill), x: x0, y: y0 };
}

/** What a click would give: a dotted outline, no fill; see `rasterHand`. */
export function rasterPreview(hand, view, size) {
  const rect = handRect(hand, size);
  if (!rect) return null;
  const [x0, y0, x1, y1] = onScreen(view, rect, size);
  const width = x1 - x0;
  const height = y1 - y0;
  if (width <= 0 || height <= 0) return null;
  const columns = under(x0, x1, view.x, view.scale, size[1]);
  const rows = under(y0, y1, view.y, view.scale, size[0]);
  const bits = sampleHand(hand, size, columns, rows, null);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const dot = 4 * devicePixelRatio;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!bits[at]) continue;
      const left = x > 0 ? bits[at - 1] : 1;
      const right = x < width - 1 ? bits[at + 1] : 1;
      const up = y > 0 ? bits[at - width] : 1;
      const down = y < height - 1 ? bits[at + width] : 1;
      if (left + right + up + down === 4) continue;
      pixels[at] = ((x0 + x + y0 + y) / dot) & 1 ? 0xc0ffffff : 0xc0101010;
    }
  }
  return { image, x: x0, y: y0 };
}

/** A finished mask on the screen; see `rasterHand`. */
export function rasterMask(mask, view, size, rgb, opacity) {
  const [bx, by, bw, bh] = mask.box;
  const rect = [bx, by, bx + bw, by + bh];
  const [x0, y0, x1, y1] = onScreen(view, rect, size);
  if (x1 <= x0 || y1 <= y0) return null;
  const columns = under(x0, x1, view.x, view.scale, size[1]);
  const rows = under(y0, y1, view.y, view.scale, size[0]);
  const bits = new Uint8Array(columns.length * rows.length);
  const inner = [
    Math.max(bx, columns[0]),
    Math.max(by, rows[0]),
    Math.min(bx + bw, columns[columns.length - 1] + 1),
    Math.min(by + bh, rows[rows.length - 1] + 1),
  ];
  if (inner[2] <= inner[0] || inner[3] <= inner[1]) return null;
  const own = bitsInside(mask.ends, size[0], inner);
  const stride = inner[2] - inner[0];
  for (let j = 0, at = 0; j < rows.length; j++) {
    const y = rows[j];
    for (let i = 0; i < columns.length; i++, at++) {
      const x = columns[i];
      if (x >= inner[0] && x < inner[2] && y >= inner[1] && y < inner[3]) {
        bits[at] = own[(y - inner[1]) * stride + x - inner[0]];
      }
    }
  }
  return { image: colour(bits, x1 - x0, y1 - y0, rgb, opacity, "both"), x: x0, y: y0 };
}
