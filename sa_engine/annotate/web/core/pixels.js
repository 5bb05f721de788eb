/**
 * From the model's logits, strokes and existing masks to pixels.
 *
 * @typedef {[number, number, number, number]} Rect  x0, y0, x1, y1 in pixels; x1, y1 excluded
 * @typedef {{prediction: string, model: string, frame: number[], input_hw: number[], side: number,
 *   iou: number[], area: number[], logits: Int16Array[], fitted: Map<number, Float32Array>}} Answer
 * @typedef {{mode: number, radius: number, path: number[], runs?: object}} Stroke
 */

export const ADD = 1;
export const ERASE = 2;
const STEPS = 256;

/** The answer in a response's bytes. @returns {Answer} */
export function readAnswer(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const size = head.side * head.side;
  const every = new Int16Array(buffer, 4 + length, size * head.iou.length);
  const logits = head.iou.map((_, k) => every.subarray(k * size, (k + 1) * size));
  return { ...head, logits, fitted: new Map() };
}

/** One axis of a bilinear step: source indices and the weight of the second, as PyTorch has them. */
function axis(count, scale, offset, sourceCount) {
  const first = new Int32Array(count);
  const second = new Int32Array(count);
  const weight = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const at = Math.max(0, (i + offset + 0.5) * scale - 0.5);
    const low = Math.min(Math.floor(at), sourceCount - 1);
    first[i] = low;
    second[i] = Math.min(low + 1, sourceCount - 1);
    weight[i] = at - low;
  }
  return { first, second, weight };
}

/** A candidate's logits at the size that the frame has in the model's input: the first step. */
export function fitted(answer, candidate) {
  const known = answer.fitted.get(candidate);
  if (known) return known;
  const [height, width] = answer.input_hw;
  const side = answer.side;
  const low = answer.logits[candidate];
  const xs = axis(width, 0.25, 0, side);
  const ys = axis(height, 0.25, 0, side);
  const out = new Float32Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    const upper = ys.first[y] * side;
    const lower = ys.second[y] * side;
    const v = ys.weight[y];
    for (let x = 0; x < width; x++, at++) {
      const a = xs.first[x];
      const b = xs.second[x];
      const u = xs.weight[x];
      const up = low[upper + a] * (1 - u) + low[upper + b] * u;
      const down = low[lower + a] * (1 - u) + low[lower + b] * u;
      out[at] = (up * (1 - v) + down * v) / STEPS;
    }
  }
  answer.fitted.set(candidate, out);
  return out;
}

/** The smallest rectangle of the image that holds a candidate's object; null if it has none. */
export function answerRect(answer, candidate) {
  const values = fitted(answer, candidate);
  const [height, width] = answer.input_hw;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (values[at] > 0) {
        if (x < left) left = x;
        if (x > right) right = x;
        if (y < top) top = y;
        bottom = y;
      }
    }
  }
  if (right < 0) return null;
  const [fx, fy, fw, fh] = answer.frame;
  const sx = fw / width;
  const sy = fh / height;
  return clip(
    [
      Math.floor(fx + (left - 1) * sx) - 1,
      Math.floor(fy + (top - 1) * sy) - 1,
      Math.ceil(fx + (right + 2) * sx) + 1,
      Math.ceil(fy + (bottom + 2) * sy) + 1,
    ],
    [fx, fy, fx + fw, fy + fh],
  );
}

/** The part of a rectangle inside another. @returns {Rect} */
export function clip([x0, y0, x1, y1], [a0, b0, a1, b1]) {
  const left = Math.max(x0, a0);
  const top = Math.max(y0, b0);
  return [left, top, Math.max(left, Math.min(x1, a1)), Math.max(top, Math.min(y1, b1))];
}

/** The smallest rectangle around two; either may be null. */
export function around(first, second) {
  if (!first || !second) return first || second;
  return [
    Math.min(first[0], second[0]),
    Math.min(first[1], second[1]),
    Math.max(first[2], second[2]),
    Math.max(first[3], second[3]),
  ];
}

/**
 * A candidate at given columns and rows of the image (pixels), row by row, 0 or 1: the second step.
 * Outside the frame there is nothing.
 */
export function sampleAnswer(answer, candidate, columns, rows, bits) {
  const values = fitted(answer, candidate);
  const [height, width] = answer.input_hw;
  const [fx, fy, fw, fh] = answer.frame;
  const sx = width / fw;
  const sy = height / fh;
  const count = columns.length;
  const a = new Int32Array(count);
  const b = new Int32Array(count);
  const u = new Float32Array(count);
  const inside = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const x = columns[i] - fx;
    if (x < 0 || x >= fw) continue;
    const at = Math.max(0, (x + 0.5) * sx - 0.5);
    inside[i] = 1;
    a[i] = Math.floor(at);
    b[i] = Math.min(a[i] + 1, width - 1);
    u[i] = at - a[i];
  }
  for (let j = 0, place = 0; j < rows.length; j++) {
    const y = rows[j] - fy;
    if (y < 0 || y >= fh) {
      place += count;
      continue;
    }
    const at = Math.max(0, (y + 0.5) * sy - 0.5);
    const top = Math.floor(at);
    const v = at - top;
    const upper = top * width;
    const lower = Math.min(top + 1, height - 1) * width;
    for (let i = 0; i < count; i++, place++) {
      if (!inside[i]) continue;
      const up = values[upper + a[i]] * (1 - u[i]) + values[upper + b[i]] * u[i];
      const down = values[lower + a[i]] * (1 - u[i]) + values[lower + b[i]] * u[i];
      if (up * (1 - v) + down * v > 0) bits[place] = 1;
    }
  }
  return bits;
}

/** The whole numbers from `from` to before `to`. */
export function range(from, to) {
  const out = new Int32Array(Math.max(0, to - from));
  for (let i = 0; i < out.length; i++) out[i] = from + i;
  return out;
}

/** The rectangle that a stroke covers, inside an image of [height, width]. */
export function strokeRect(stroke, [height, width]) {
  if (stroke.rect) return stroke.rect;
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < stroke.path.length; i += 2) {
    left = Math.min(left, stroke.path[i]);
    right = Math.max(right, stroke.path[i]);
    top = Math.min(top, stroke.path[i + 1]);
    bottom = Math.max(bottom, stroke.path[i + 1]);
  }
  const r = stroke.radius + 1;
  return clip(
    [Math.floor(left - r), Math.floor(top - r), Math.ceil(right + r), Math.ceil(bottom + r)],
    [0, 0, width, height],
  );
}

/**
 * Paint the part of a stroke from its `from`-th point on: all pixels whose centre is no farther
 * than the radius from the line.
 * @param {Uint8Array} overlay  0, ADD or ERASE for each pixel of the image
 */
export function paintStroke(overlay, [height, width], stroke, from = 0) {
  if (stroke.bits) {
    const [x0, y0, x1, y1] = stroke.rect;
    for (let y = y0, at = 0; y < y1; y++) {
      for (let x = x0; x < x1; x++, at++) if (stroke.bits[at]) overlay[y * width + x] = stroke.bits[at];
    }
    return;
  }
  const { path, radius, mode } = stroke;
  if (stroke.polygon) {
    fillPolygon(overlay, [height, width], path, mode);
    return;
  }
  const limit = radius * radius;
  const points = path.length / 2;
  for (let i = Math.max(0, from); i < points; i++) {
    const before = i === 0 ? 0 : i - 1;
    const ax = path[2 * before];
    const ay = path[2 * before + 1];
    const bx = path[2 * i];
    const by = path[2 * i + 1];
    const dx = bx - ax;
    const dy = by - ay;
    const square = dx * dx + dy * dy;
    const x0 = Math.max(0, Math.floor(Math.min(ax, bx) - radius));
    const x1 = Math.min(width, Math.ceil(Math.max(ax, bx) + radius) + 1);
    const y0 = Math.max(0, Math.floor(Math.min(ay, by) - radius));
    const y1 = Math.min(height, Math.ceil(Math.max(ay, by) + radius) + 1);
    for (let y = y0; y < y1; y++) {
      const py = y + 0.5 - ay;
      for (let x = x0; x < x1; x++) {
        const px = x + 0.5 - ax;
        let t = square ? (px * dx + py * dy) / square : 0;
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        const ex = px - t * dx;
        const ey = py - t * dy;
        if (ex * ex + ey * ey <= limit) overlay[y * width + x] = mode;
      }
    }
  }
}

/** Fill a closed outline by the even-odd rule. */
function fillPolygon(overlay, [height, width], path, mode) {
  const points = path.length / 2;
  let top = height;
  let bottom = 0;
  for (let i = 0; i < points; i++) {
    top = Math.min(top, Math.floor(path[2 * i + 1]));
    bottom = Math.max(bottom, Math.ceil(path[2 * i + 1]));
  }
  for (let y = Math.max(0, top); y < Math.min(height, bottom + 1); y++) {
    const crossings = [];
    for (let i = 0, j = points - 1; i < points; j = i++) {
      const [xi, yi, xj, yj] = [path[2 * i], path[2 * i + 1], path[2 * j], path[2 * j + 1]];
      const line = y + 0.5;
      if (yi > line !== yj > line) crossings.push(xi + ((line - yi) * (xj - xi)) / (yj - yi));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(0, Math.ceil(crossings[k] - 0.5));
      const to = Math.min(width, Math.ceil(crossings[k + 1] - 0.5));
      for (let x = from; x < to; x++) overlay[y * width + x] = mode;
    }
  }
}

/**
 * What clicks change of an existing mask: of the difference between answer and base only the parts
 * that hold a click are taken over.
 * @param {Uint8Array} base @param {Uint8Array} answer  of the same rectangle; base is changed
 * @returns {number} how many pixels were changed
 */
export function takeOverParts(base, answer, [x0, y0, x1, y1], clicks) {
  const width = x1 - x0;
  const height = y1 - y0;
  const size = width * height;
  const differs = new Uint8Array(size);
  for (let i = 0; i < size; i++) differs[i] = base[i] ^ answer[i];
  let changed = 0;
  const stack = [];
  for (const [x, y] of clicks) {
    const column = Math.floor(x) - x0;
    const row = Math.floor(y) - y0;
    if (column < 0 || row < 0 || column >= width || row >= height) continue;
    const start = row * width + column;
    if (!differs[start]) continue;
    differs[start] = 0;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      base[at] ^= 1;
      changed++;
      const column = at % width;
      if (column > 0 && differs[at - 1]) (differs[at - 1] = 0), stack.push(at - 1);
      if (column < width - 1 && differs[at + 1]) (differs[at + 1] = 0), stack.push(at + 1);
      if (at >= width && differs[at - width]) (differs[at - width] = 0), stack.push(at - width);
      if (at < size - width && differs[at + width]) (differs[at + width] = 0), stack.push(at + width);
    }
  }
  return changed;
}

/**
 * Pieces and holes of under `limit` pixels (4-connected; holes 4-connected too), to be turned over.
 * @returns {Uint8Array} ADD where a hole is filled, ERASE where a piece goes, else 0
 */
export function crumbs(bits, width, limit) {
  const size = bits.length;
  const seen = new Uint8Array(size);
  const out = new Uint8Array(size);
  const height = size / width;
  const part = new Int32Array(size);
  for (let start = 0; start < size; start++) {
    if (seen[start]) continue;
    const value = bits[start];
    let count = 1;
    let reached = false;
    part[0] = start;
    seen[start] = 1;
    for (let i = 0; i < count; i++) {
      const at = part[i];
      const x = at % width;
      const y = (at - x) / width;
      if (x === 0 || y === 0 || x === width - 1 || y === height - 1) reached = true;
      const near = [
        x > 0 ? at - 1 : -1,
        x < width - 1 ? at + 1 : -1,
        at - width,
        at + width < size ? at + width : -1,
      ];
      for (const other of near) {
        if (other >= 0 && !seen[other] && bits[other] === value) {
          seen[other] = 1;
          part[count++] = other;
        }
      }
    }
    // Background that reaches the rectangle's border is no hole.
    if (count < limit && !(value === 0 && reached)) {
      for (let i = 0; i < count; i++) out[part[i]] = value ? ERASE : ADD;
    }
  }
  return out;
}
