/**
 * All finished masks on one canvas of the image's size, so that a frame costs the same with 5 masks
 * and with 500. Redrawn only inside the box of what changed.
 */

import { FINISHED } from "../core/palette.js";
import { bitsInside } from "../core/rle.js";
import { clip } from "../core/pixels.js";

const TILE = 1024;

/** @param {[number, number]} size  [height, width] of the image */
export function newLayer([height, width]) {
  const canvas = new OffscreenCanvas(width, height);
  return {
    canvas,
    context: canvas.getContext("2d"),
    size: [height, width],
    // Edges must be seen when the whole image is on the screen.
    edge: Math.max(1, Math.min(6, Math.round(Math.max(height, width) / 900))),
    turn: 0,
  };
}

/**
 * Redraw a rectangle.
 * @param {{mask: object, kind: string}[]} items  largest area first; kind finished, proposal, kept
 *   or existing
 */
export function paintRect(layer, rect, items, look) {
  const [height, width] = layer.size;
  const [x0, y0, x1, y1] = clip(rect, [0, 0, width, height]);
  const w = x1 - x0;
  const h = y1 - y0;
  if (w <= 0 || h <= 0) return;
  const image = new ImageData(w, h);
  const pixels = new Uint32Array(image.data.buffer);
  for (const item of items) paintMask(layer, pixels, [x0, y0, x1, y1], item, look);
  layer.context.putImageData(image, x0, y0);
}

/** Redraw everything, tile by tile, with the page alive between; newer calls stop older ones. */
export async function paintAll(layer, items, look, shown) {
  const turn = ++layer.turn;
  const [height, width] = layer.size;
  for (let y = 0; y < height; y += TILE) {
    for (let x = 0; x < width; x += TILE) {
      const rect = [x, y, Math.min(width, x + TILE), Math.min(height, y + TILE)];
      paintRect(layer, rect, items, look);
      if (width > TILE || height > TILE) {
        shown();
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (turn !== layer.turn) return;
      }
    }
  }
  shown();
}

function paintMask(layer, pixels, [x0, y0, x1, y1], { mask, kind }, look) {
  const edge = layer.edge;
  const [height, width] = layer.size;
  const [bx, by, bw, bh] = mask.box;
  const outer = clip([bx - edge, by - edge, bx + bw + edge, by + bh + edge], [x0, y0, x1, y1]);
  if (outer[2] <= outer[0] || outer[3] <= outer[1]) return;
  // The mask with a border around, to find its edges.
  const wide = clip(
    [outer[0] - edge, outer[1] - edge, outer[2] + edge, outer[3] + edge],
    [0, 0, width, height],
  );
  const bits = bitsInside(mask.ends, height, wide);
  const stride = wide[2] - wide[0];
  const rows = wide[3] - wide[1];
  const colour = kind === "existing" ? [150, 150, 150] : FINISHED[mask.colour % FINISHED.length];
  const [r, g, b] = colour;
  const solid = 0xff000000 | (b << 16) | (g << 8) | r;
  const strength = kind === "finished" || kind === "kept" ? look.opacity : look.opacity * 0.45;
  const alpha = look.fill === "outline" ? 0 : Math.round(255 * strength);
  const fill = ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const dark = 0xb0000000;
  const outlines = look.fill !== "fill";
  const dashed = kind === "proposal" || kind === "existing";
  const across = x1 - x0;
  for (let y = outer[1]; y < outer[3]; y++) {
    const row = (y - wide[1]) * stride - wide[0];
    const to = (y - y0) * across - x0;
    const above = y - edge >= wide[1] ? -edge * stride : 0;
    const below = y + edge < wide[1] + rows ? edge * stride : 0;
    for (let x = outer[0]; x < outer[2]; x++) {
      const at = row + x;
      const left = x - edge >= wide[0] ? bits[at - edge] : bits[at];
      const right = x + edge < wide[2] ? bits[at + edge] : bits[at];
      const own = bits[at];
      const near = left + right + bits[at + above] + bits[at + below];
      if (own) {
        if (alpha) pixels[to + x] = fill;
        else if (!outlines) continue;
        if (outlines && near < 4) {
          const gap = dashed && (((x + y) / (4 * edge)) & 1) === 1;
          pixels[to + x] = gap ? dark : solid;
        }
      } else if (near && outlines && !dashed) {
        pixels[to + x] = dark;
      }
    }
  }
}
