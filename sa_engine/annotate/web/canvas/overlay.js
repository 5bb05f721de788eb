/** The strokes of the mask in hand, painted: one value a pixel of the image. */

import { clip, paintStroke, strokeRect } from "../core/pixels.js";

/** @param {[number, number]} size  [height, width] */
export const newOverlay = ([height, width]) => ({
  pixels: new Uint8Array(height * width),
  size: [height, width],
  painted: [],
});

/** Make the overlay that of a hand's strokes; only what is new is painted. */
export function syncOverlay(overlay, strokes) {
  const { painted } = overlay;
  let same = 0;
  while (same < painted.length && same < strokes.length && painted[same] === strokes[same]) same++;
  if (same < painted.length) {
    for (const stroke of painted) clearRect(overlay, strokeRect(stroke, overlay.size));
    overlay.painted = [];
    same = 0;
  }
  for (const stroke of strokes.slice(same)) {
    paintStroke(overlay.pixels, overlay.size, stroke);
    overlay.painted.push(stroke);
  }
}

/** Paint a stroke that is being drawn, from its `from`-th point on. */
export function paintLive(overlay, stroke, from) {
  paintStroke(overlay.pixels, overlay.size, stroke, from);
  if (!overlay.painted.includes(stroke)) overlay.painted.push(stroke);
}

function clearRect(overlay, rect) {
  const [height, width] = overlay.size;
  const [x0, y0, x1, y1] = clip(rect, [0, 0, width, height]);
  for (let y = y0; y < y1; y++) overlay.pixels.fill(0, y * width + x0, y * width + x1);
}
