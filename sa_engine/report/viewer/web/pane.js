"use strict";
/* One image with the masks of one set, in a view that can be zoomed and moved. */

const UNMATCHED = [255, 59, 48];

class Pane {
  constructor(title, viewer) {
    this.viewer = viewer;
    this.element = document.createElement("div");
    this.element.className = "pane";
    this.photoCanvas = document.createElement("canvas");
    this.maskCanvas = document.createElement("canvas");
    this.label = document.createElement("p");
    this.title = title;
    this.element.append(this.photoCanvas, this.maskCanvas, this.label);
    this.masks = [];
    this.listen();
  }

  get size() { return [this.element.clientWidth * devicePixelRatio, this.element.clientHeight * devicePixelRatio].map(Math.round); }

  /* The point of the image under a mouse event. */
  point(event) {
    const box = this.element.getBoundingClientRect(), { view } = this.viewer;
    return [view.x + (event.clientX - box.left) * devicePixelRatio / view.scale, view.y + (event.clientY - box.top) * devicePixelRatio / view.scale];
  }

  listen() {
    const canvas = this.maskCanvas;
    let held = null;
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      this.viewer.zoom(Math.pow(1.0015, -event.deltaY), this.point(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", event => { held = { x: event.clientX, y: event.clientY, moved: false }; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", event => {
      if (!held) return;
      const [x, y] = [event.clientX - held.x, event.clientY - held.y];
      if (!held.moved && Math.hypot(x, y) < 4) return;
      held = { x: event.clientX, y: event.clientY, moved: true };
      this.viewer.move(-x * devicePixelRatio, -y * devicePixelRatio);
    });
    canvas.addEventListener("pointerup", event => {
      if (held && !held.moved) this.pick(this.point(event));
      held = null;
    });
    canvas.addEventListener("dblclick", () => this.viewer.fit());
  }

  shown() { return this.masks.filter(mask => mask.passes); }

  pick([x, y]) {
    const [height, width] = this.viewer.imageSize;
    if (x < 0 || y < 0 || x >= width || y >= height) return this.viewer.select(null);
    const pixel = Math.floor(x) * height + Math.floor(y);
    const under = this.shown().filter(mask => covers(mask, pixel)).sort((a, b) => a.area - b.area);
    const next = under.indexOf(this.viewer.selected) + 1;
    return this.viewer.select(under.length ? under[next % under.length] : null);
  }

  drawPhoto() {
    const { view, photo, imageSize } = this.viewer, [width, height] = this.size, canvas = this.photoCanvas;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = view.scale < 2;
    context.imageSmoothingQuality = "high";
    const place = [-view.x * view.scale, -view.y * view.scale, imageSize[1] * view.scale, imageSize[0] * view.scale];
    context.fillStyle = "#333";
    context.fillRect(...place);
    if (photo) context.drawImage(photo, ...place);
  }

  drawMasks() {
    const { view, selected, isOn, isAlone, opacity } = this.viewer, [width, height] = this.size, canvas = this.maskCanvas;
    canvas.width = width;
    canvas.height = height;
    if (!width || !height) return;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const own = selected && (selected.pane === this || (selected.twin && selected.twin.pane === this));
    const chosen = own ? (selected.pane === this ? selected : selected.twin) : null;
    const shown = !isOn ? [] : isAlone && selected ? (chosen ? [chosen] : []) : this.shown();
    const order = shown.slice().sort((a, b) => (a === chosen) - (b === chosen) || b.area - a.area);
    const labels = new Int32Array(width * height);
    order.forEach((mask, index) => paintMask(labels, width, height, view, mask, index + 1));
    tint(labels, width, height, new Uint32Array(image.data.buffer), order.map(mask => mask.colour),
      order.map(mask => (mask === chosen ? Math.max(opacity, 0.5) : chosen && !isAlone ? opacity * 0.4 : opacity)));
    context.putImageData(image, 0, 0);
    if (chosen && isOn) this.drawPrompts(context, chosen);
    this.label.textContent = this.title ? `${this.title}: ${shown.length} of ${this.masks.length} masks` : "";
    this.label.hidden = !this.title;
  }

  /* The box and the points that gave the chosen mask. */
  drawPrompts(context, mask) {
    const { view } = this.viewer;
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5 * devicePixelRatio;
    if (mask.prompt) {
      const [x, y, across, down] = mask.prompt;
      context.setLineDash([6, 4]);
      context.strokeRect((x - view.x) * view.scale, (y - view.y) * view.scale, across * view.scale, down * view.scale);
      context.setLineDash([]);
    }
    for (const [x, y] of mask.points) {
      context.beginPath();
      context.arc((x - view.x) * view.scale, (y - view.y) * view.scale, 4 * devicePixelRatio, 0, 7);
      context.fillStyle = "#1e7d32";
      context.fill();
      context.stroke();
    }
  }

  draw() { this.drawPhoto(); this.drawMasks(); }
}
