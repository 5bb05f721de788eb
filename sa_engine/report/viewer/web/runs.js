"use strict";
/* Masks as COCO's compressed run lengths: reading them, and painting them at the size of a canvas. */

/* 5 bits a character, the 6th says that more follow; from the fourth number on, the difference to the number two before.
   Returns the ends of the runs, added up: a pixel (x * height + y) is foreground if an odd number of ends is at or before it. */
function edgesOf(counts) {
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      shift += 5;
      if (!more && (code & 16) && shift < 32) value |= -1 << shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  for (let i = 1; i < runs.length; i++) runs[i] += runs[i - 1];
  return Float64Array.from(runs);
}

/* The first edge beyond a pixel. */
function edgeBeyond(edges, pixel, from = 0) {
  let low = from, high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] > pixel) high = middle; else low = middle + 1;
  }
  return low;
}

function covers(mask, pixel) {
  const edge = edgeBeyond(mask.edges, pixel);
  return edge < mask.edges.length && edge % 2 === 1;
}

/* Write `label` into `labels` (of width x height canvas pixels) wherever the mask lies under a pixel's centre.
   view: {scale: canvas pixels an image pixel, x, y: the image's point in the canvas' corner}. */
function paintMask(labels, width, height, view, mask, label) {
  const full = mask.size[0], edges = mask.edges, [left, top, across, down] = mask.box;
  const toColumn = x => Math.ceil((x - view.x) * view.scale - 0.5), toRow = y => Math.ceil((y - view.y) * view.scale - 0.5);
  const lastColumn = Math.min(width, toColumn(left + across));
  const y0 = Math.max(top, Math.floor(view.y)), y1 = Math.min(top + down, Math.ceil(view.y + height / view.scale));
  if (y1 <= y0) return;
  for (let column = Math.max(0, toColumn(left)), edge = 0; column < lastColumn; column++) {
    const start = Math.floor(view.x + (column + 0.5) / view.scale) * full;
    edge = edgeBeyond(edges, start + y0, edge);
    for (let i = edge; i < edges.length; i++) {
      const from = i ? Math.max(edges[i - 1] - start, y0) : y0;
      if (from >= y1) break;
      if (i % 2 === 0) continue;
      const last = Math.min(height, toRow(Math.min(edges[i] - start, y1)));
      for (let row = Math.max(0, toRow(from)); row < last; row++) labels[row * width + column] = label;
    }
  }
}

/* Colours (r, g, b) whose neighbours in the list are well apart. */
function colourOf(index) {
  const hue = ((0.58 + index * 0.618033988749895) % 1) * 6, saturation = [0.9, 0.65, 0.8][index % 3];
  const part = n => { const k = (n + hue) % 6; return Math.round(255 * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1)))); };
  return [part(5), part(3), part(1)];
}

/* Fill an RGBA image from labels: colours[label - 1] with `alpha` inside and an opaque outline. */
function tint(labels, width, height, pixels, colours, alphas) {
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const label = labels[at];
      if (!label) { pixels[at] = 0; continue; }
      const edge = (column && labels[at - 1] !== label) || (column < width - 1 && labels[at + 1] !== label)
        || (row && labels[at - width] !== label) || (row < height - 1 && labels[at + width] !== label);
      const [red, green, blue] = colours[label - 1], alpha = edge ? Math.max(alphas[label - 1], 0.9) : alphas[label - 1];
      pixels[at] = (Math.round(alpha * 255) << 24 | blue << 16 | green << 8 | red) >>> 0;
    }
  }
}
