/**
 * From the image to the canvas: canvas = image * scale + offset, both in device pixels.
 * @typedef {{scale: number, x: number, y: number, width: number, height: number}} View
 */

export const newView = () => ({ scale: 1, x: 0, y: 0, width: 1, height: 1 });

const MARGIN = 12;
const MOST = 64;

/** Show the whole image. */
export function fit(view, [height, width]) {
  const scale = Math.min(
    (view.width - 2 * MARGIN) / width,
    (view.height - 2 * MARGIN) / height,
  );
  view.scale = Math.max(scale, 1e-3);
  view.x = (view.width - width * view.scale) / 2;
  view.y = (view.height - height * view.scale) / 2;
}

/** Zoom by a factor at a point of the canvas. */
export function zoomAt(view, factor, cx, cy, [height, width]) {
  const least = Math.min(view.width / width, view.height / height) / 4;
  const scale = Math.min(MOST, Math.max(least, view.scale * factor));
  view.x = cx - ((cx - view.x) * scale) / view.scale;
  view.y = cy - ((cy - view.y) * scale) / view.scale;
  view.scale = scale;
  keepInSight(view, [height, width]);
}

export function pan(view, dx, dy, size) {
  view.x += dx;
  view.y += dy;
  keepInSight(view, size);
}

/** At least a corner of the image stays in sight. */
function keepInSight(view, [height, width]) {
  const rest = 48;
  view.x = Math.min(view.width - rest, Math.max(rest - width * view.scale, view.x));
  view.y = Math.min(view.height - rest, Math.max(rest - height * view.scale, view.y));
}

/** A point of the canvas in the image. */
export const toImage = (view, cx, cy) => [(cx - view.x) / view.scale, (cy - view.y) / view.scale];

export const toCanvas = (view, ix, iy) => [ix * view.scale + view.x, iy * view.scale + view.y];

/** The visible part of the image, [x0, y0, x1, y1] in whole pixels. */
export function visible(view, [height, width]) {
  const [x0, y0] = toImage(view, 0, 0);
  const [x1, y1] = toImage(view, view.width, view.height);
  return [
    Math.max(0, Math.floor(x0)),
    Math.max(0, Math.floor(y0)),
    Math.min(width, Math.ceil(x1)),
    Math.min(height, Math.ceil(y1)),
  ];
}

/** Bring a box of the image, x, y, width, height, into sight if it is not. */
export function reveal(view, [x, y, w, h], size) {
  const [x0, y0, x1, y1] = visible(view, size);
  if (x >= x0 && y >= y0 && x + w <= x1 && y + h <= y1) return false;
  const scale = Math.min(view.scale, (0.7 * view.width) / w, (0.7 * view.height) / h);
  view.scale = scale;
  view.x = view.width / 2 - (x + w / 2) * scale;
  view.y = view.height / 2 - (y + h / 2) * scale;
  return true;
}

/**
 * The frame to encode for what is seen: the visible part, 15 % larger on each side, snapped outwards
 * to 1/32 of the longer side, at least 64 px. Null while most of the image is seen.
 */
export function frameOf(view, [height, width], share = 0.6) {
  const [x0, y0, x1, y1] = visible(view, [height, width]);
  const longer = Math.max(height, width);
  const seen = Math.max(x1 - x0, y1 - y0);
  if (seen <= 0 || seen >= share * longer) return null;
  const step = longer / 32;
  const grow = (from, to, most) => {
    const room = Math.max(0.15 * (to - from), (64 - (to - from)) / 2);
    const low = Math.floor((from - room) / step) * step;
    const high = Math.ceil((to + room) / step) * step;
    return [Math.max(0, Math.floor(low)), Math.min(most, Math.ceil(high))];
  };
  const [left, right] = grow(x0, x1, width);
  const [top, bottom] = grow(y0, y1, height);
  return [left, top, right - left, bottom - top];
}
