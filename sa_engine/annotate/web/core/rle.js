/**
 * COCO's run-length masks: read column by column, background first, packed into ASCII.
 * @typedef {{size: [number, number], counts: string}} Rle  size is [height, width]
 */

/** The cumulative ends of all runs: run i covers [ends[i-1], ends[i]), odd runs are foreground. */
export function runEnds(counts) {
  const ends = [];
  const numbers = [];
  let place = 0;
  let total = 0;
  while (place < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const code = counts.charCodeAt(place++) - 48;
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      shift += 5;
      if (!more && code & 16) value |= -1 << shift;
    }
    if (numbers.length > 2) value += numbers[numbers.length - 2];
    numbers.push(value);
    total += value;
    ends.push(total);
  }
  return Int32Array.from(ends);
}

/** The packed form of run lengths. */
export function packRuns(runs) {
  const codes = [];
  for (let place = 0; place < runs.length; place++) {
    let number = place > 2 ? runs[place] - runs[place - 2] : runs[place];
    let more = true;
    while (more) {
      let code = number & 31;
      number >>= 5;
      more = code & 16 ? number !== -1 : number !== 0;
      if (more) code |= 32;
      codes.push(code + 48);
    }
  }
  let text = "";
  for (let i = 0; i < codes.length; i += 8192) {
    text += String.fromCharCode(...codes.slice(i, i + 8192));
  }
  return text;
}

/** Whether a mask of run ends holds a pixel. */
export function holds(ends, height, x, y) {
  const position = x * height + y;
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > position) high = middle;
    else low = middle + 1;
  }
  return low % 2 === 1;
}

/**
 * The pixels of a mask inside a rectangle [x0, x1) x [y0, y1), row by row, 0 or 1.
 * @param {Int32Array} ends
 */
export function bitsInside(ends, height, [x0, y0, x1, y1]) {
  const width = x1 - x0;
  const bits = new Uint8Array(Math.max(0, width * (y1 - y0)));
  const last = x1 * height;
  // The first run that ends after the rectangle's first column.
  let low = 0;
  let high = ends.length;
  const first = x0 * height;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > first) high = middle;
    else low = middle + 1;
  }
  for (let run = low; run < ends.length; run++) {
    const start = run === 0 ? 0 : ends[run - 1];
    if (start >= last) break;
    if (run % 2 === 0) continue;
    let from = Math.max(start, first);
    const to = Math.min(ends[run], last);
    while (from < to) {
      const x = Math.floor(from / height);
      const top = from - x * height;
      const bottom = Math.min(height, top + to - from);
      const a = Math.max(top, y0);
      const b = Math.min(bottom, y1);
      let at = (a - y0) * width + x - x0;
      for (let y = a; y < b; y++, at += width) bits[at] = 1;
      from += bottom - top;
    }
  }
  return bits;
}

/**
 * Encode the pixels of a rectangle as a mask of the whole image.
 * @returns {{rle: Rle, area: number, box: [number, number, number, number]}} box x, y, width, height
 */
export function encodeBits(bits, [x0, y0, x1, y1], [height, width]) {
  const columns = x1 - x0;
  const rows = y1 - y0;
  const runs = [];
  let value = 0;
  let start = 0;
  let area = 0;
  let left = Infinity;
  let right = -1;
  let top = Infinity;
  let bottom = -1;
  const switchAt = (position) => {
    runs.push(position - start);
    start = position;
    value = 1 - value;
  };
  for (let x = 0; x < columns; x++) {
    const base = (x + x0) * height + y0;
    // Above the rectangle everything is background.
    if (value === 1 && (y0 > 0 || rows === 0)) switchAt((x + x0) * height);
    for (let y = 0, at = x; y < rows; y++, at += columns) {
      const bit = bits[at];
      if (bit) {
        area++;
        if (x < left) left = x;
        if (x > right) right = x;
        if (y < top) top = y;
        if (y > bottom) bottom = y;
      }
      if (bit !== value) switchAt(base + y);
    }
    if (value === 1 && y1 < height) switchAt(base + rows);
  }
  const total = height * width;
  if (value === 1 && start < x1 * height && x1 * height < total) switchAt(x1 * height);
  runs.push(total - start);
  if (runs.length > 1 && runs[runs.length - 1] === 0) runs.pop();
  const box = area ? [left + x0, top + y0, right - left + 1, bottom - top + 1] : [0, 0, 0, 0];
  return { rle: { size: [height, width], counts: packRuns(runs) }, area, box };
}
