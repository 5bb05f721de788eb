/** A frame: picture, finished masks, what is pointed at, the mask in hand, its prompts, cursors. */

import { FINISHED, IN_HAND, css } from "../core/palette.js";
import { sizeOf } from "../core/state.js";
import { rasterHand, rasterMask, rasterPreview } from "./raster.js";
import { toCanvas } from "./view.js";

/** What is drawn with: the visible canvas, a scratch one, and the picture and layer of the image. */
export function newDrawing(canvas) {
  return {
    canvas,
    context: canvas.getContext("2d", { alpha: false }),
    scratch: new OffscreenCanvas(1, 1),
    picture: null,
    layer: null,
    overlay: null,
    ground: "#808080",
  };
}

/** Take the colour around the image from the style sheet. */
export function readGround(drawing) {
  drawing.ground = getComputedStyle(drawing.canvas).getPropertyValue("--ground") || drawing.ground;
}

/** Draw the state. @returns {boolean} false if there is no image */
export function draw(drawing, state, view) {
  const { context, canvas } = drawing;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.filter = "none";
  context.fillStyle = drawing.ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!state.image || !drawing.picture) return false;
  drawPicture(drawing, state, view);
  if (!state.hide.all) {
    if (!state.hide.finished) drawScaled(drawing, drawing.layer.canvas, state, view);
    drawPointedAt(drawing, state, view);
    if (state.preview) put(drawing, rasterPreview(state.preview, view, sizeOf(state)));
    drawHand(drawing, state, view);
  }
  drawPrompts(context, state, view);
  drawCross(context, state, view);
  drawRing(context, state, view);
  return true;
}

function drawPicture(drawing, state, view) {
  const { context } = drawing;
  const { brightness, contrast } = state.look;
  const plain = brightness === 100 && contrast === 100;
  context.filter = plain ? "none" : `brightness(${brightness}%) contrast(${contrast}%)`;
  const { levels } = drawing.picture;
  let level = levels[0];
  for (const each of levels) if (each.width >= state.image.width * view.scale) level = each;
  drawScaled(drawing, level, state, view);
  context.filter = "none";
}

/** Draw what covers the whole image, whatever its own resolution; only the part that is seen. */
function drawScaled({ context, canvas }, source, state, view) {
  const [height, width] = sizeOf(state);
  const left = Math.max(0, -view.x / view.scale);
  const top = Math.max(0, -view.y / view.scale);
  const right = Math.min(width, (canvas.width - view.x) / view.scale);
  const bottom = Math.min(height, (canvas.height - view.y) / view.scale);
  if (right <= left || bottom <= top) return;
  const ratio = source.width / width;
  context.imageSmoothingEnabled = view.scale < 2;
  context.drawImage(
    source,
    left * ratio,
    top * ratio,
    (right - left) * ratio,
    (bottom - top) * ratio,
    view.x + left * view.scale,
    view.y + top * view.scale,
    (right - left) * view.scale,
    (bottom - top) * view.scale,
  );
}

function put(drawing, raster) {
  if (!raster) return;
  const { scratch, context } = drawing;
  const { width, height } = raster.image;
  if (scratch.width < width || scratch.height < height) {
    scratch.width = Math.max(scratch.width, width);
    scratch.height = Math.max(scratch.height, height);
  }
  scratch.getContext("2d").putImageData(raster.image, 0, 0);
  context.drawImage(scratch, 0, 0, width, height, raster.x, raster.y, width, height);
}

function drawPointedAt(drawing, state, view) {
  const id = state.hovered ?? state.selected;
  const mask =
    state.masks.get(id) || state.proposals.find((each) => each.id === (id ?? state.proposal));
  if (!mask || (state.hand && state.hand.id === mask.id)) return;
  const rgb = FINISHED[mask.colour % FINISHED.length];
  put(drawing, rasterMask(mask, view, sizeOf(state), rgb, 0.55));
}

function drawHand(drawing, state, view) {
  const { hand } = state;
  if (!hand) return;
  const pixels = drawing.overlay ? drawing.overlay.pixels : null;
  put(drawing, rasterHand(hand, view, sizeOf(state), pixels, IN_HAND, state.look));
}

const INK = "#101010";

function drawPrompts(context, state, view) {
  const box = state.dragged || (state.hand && state.hand.box);
  const size = 7 * devicePixelRatio;
  context.lineJoin = "miter";
  if (box) {
    const [ax, ay] = toCanvas(view, box[0], box[1]);
    const [bx, by] = toCanvas(view, box[2], box[3]);
    for (const [colour, line] of [
      [INK, 4],
      [css(IN_HAND), 2],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = line * devicePixelRatio;
      context.strokeRect(ax, ay, bx - ax, by - ay);
    }
  }
  for (const [x, y, label] of state.hand ? state.hand.points : []) {
    const [cx, cy] = toCanvas(view, x, y);
    context.beginPath();
    // A disc with a plus for the object, a square with a minus for the background.
    if (label) context.arc(cx, cy, size, 0, 2 * Math.PI);
    else context.rect(cx - size, cy - size, 2 * size, 2 * size);
    context.fillStyle = label ? "#ffffff" : INK;
    context.fill();
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeStyle = label ? INK : "#ffffff";
    context.stroke();
    context.beginPath();
    context.moveTo(cx - size / 2, cy);
    context.lineTo(cx + size / 2, cy);
    if (label) {
      context.moveTo(cx, cy - size / 2);
      context.lineTo(cx, cy + size / 2);
    }
    context.stroke();
  }
}

function twice(context, trace) {
  for (const [colour, line] of [
    [INK, 3],
    ["#ffffff", 1],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = line * devicePixelRatio;
    context.beginPath();
    trace();
    context.stroke();
  }
}

function drawCross(context, state, view) {
  if (!state.cross) return;
  const [x, y] = toCanvas(view, ...state.cross);
  const arm = 14 * devicePixelRatio;
  const gap = 3 * devicePixelRatio;
  twice(context, () => {
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * arm, y + dy * arm);
    }
  });
}

function drawRing(context, state, view) {
  const paints = state.tool === "brush" || state.tool === "eraser";
  const at = state.pointer || (state.cross && toCanvas(view, ...state.cross));
  if (!paints || !at) return;
  const radius = Math.max(1, (state.brush / 2) * view.scale);
  twice(context, () => context.arc(at[0], at[1], radius, 0, 2 * Math.PI));
}
