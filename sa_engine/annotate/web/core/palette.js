/**
 * Colours that four kinds of colour vision tell apart (Okabe and Ito, "Color Universal Design",
 * 2008). Blue is the mask in hand alone.
 */

export const IN_HAND = [0x56, 0xb4, 0xe9];

export const FINISHED = [
  [0xe6, 0x9f, 0x00],
  [0x00, 0x9e, 0x73],
  [0xf0, 0xe4, 0x42],
  [0x00, 0x72, 0xb2],
  [0xd5, 0x5e, 0x00],
  [0xcc, 0x79, 0xa7],
  [0xff, 0xff, 0xff],
];

const touch = (a, b) =>
  a[0] <= b[0] + b[2] && b[0] <= a[0] + a[2] && a[1] <= b[1] + b[3] && b[1] <= a[1] + a[3];

/**
 * A colour that no neighbour has, if there is one; else the one that fewest have.
 * @param {number[]} box  x, y, width, height
 * @param {Iterable<{box: number[], colour: number}>} others
 */
export function chooseColour(box, others) {
  const used = new Array(FINISHED.length).fill(0);
  const near = new Array(FINISHED.length).fill(0);
  for (const other of others) {
    used[other.colour]++;
    if (touch(box, other.box)) near[other.colour]++;
  }
  let best = 0;
  for (let k = 1; k < FINISHED.length; k++) {
    if (near[k] < near[best] || (near[k] === near[best] && used[k] < used[best])) best = k;
  }
  return best;
}

/** An [r, g, b] for a style sheet. */
export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
