"use strict";
/* All images as thumbnails: only those in sight are in the page. */

class Grid {
  constructor(columns, open) {
    this.columns = columns;
    this.open = open;
    this.order = [];
    this.cells = new Map();
    this.box = document.querySelector("#grid");
    this.inner = document.querySelector("#cells");
    this.box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.inner.addEventListener("click", event => {
      const cell = event.target.closest(".cell");
      if (cell) this.open(Number(cell.dataset.image));
    });
  }

  show(order) {
    this.order = order;
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
    this.draw();
  }

  layout() {
    const gap = 8, width = this.box.clientWidth - 2 * gap, across = Math.max(1, Math.floor((width + gap) / 228));
    const side = (width + gap) / across - gap;
    return { gap, across, side, high: side * 0.78 + 24 };
  }

  /* Scroll so that a place of the order is in sight. */
  reveal(place) {
    const { gap, across, high } = this.layout(), top = Math.floor(place / across) * (high + gap);
    if (top < this.box.scrollTop || top + high > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top - high;
    this.draw();
    for (const [at, cell] of this.cells) cell.classList.toggle("chosen", at === place);
  }

  draw() {
    if (!this.box.clientHeight) return;
    const { gap, across, side, high } = this.layout(), step = high + gap;
    this.inner.style.height = `${Math.ceil(this.order.length / across) * step + gap}px`;
    const from = Math.max(0, Math.floor(this.box.scrollTop / step) - 1) * across;
    const to = Math.min(this.order.length, (Math.ceil((this.box.scrollTop + this.box.clientHeight) / step) + 1) * across);
    for (const [place, cell] of this.cells) if (place < from || place >= to) { cell.remove(); this.cells.delete(place); }
    for (let place = from; place < to; place++) {
      let cell = this.cells.get(place);
      if (!cell) { cell = this.cell(this.order[place]); this.cells.set(place, cell); this.inner.append(cell); }
      cell.style.cssText = `left:${gap + (place % across) * (side + gap)}px;top:${gap + Math.floor(place / across) * step}px;width:${side}px;height:${high}px`;
    }
  }

  cell(image) {
    const { columns } = this, cell = document.createElement("div"), line = document.createElement("span");
    cell.className = "cell";
    cell.dataset.image = image;
    if (columns.reason[image] >= 0) {
      const failed = document.createElement("b");
      failed.className = "failed";
      failed.textContent = columns.errors[image];
      cell.append(failed);
    } else {
      const picture = document.createElement("img");
      picture.decoding = "async";
      picture.alt = "";
      picture.src = pathOf(columns.keys[image]) + ".thumb.jpg";
      cell.append(picture);
    }
    const masks = columns.masks(image);
    line.textContent = `${columns.keys[image]} · ${masks} mask${masks === 1 ? "" : "s"} · ${columns.sources[image]}`;
    line.title = columns.sources[image];
    cell.append(line);
    return cell;
  }
}

/* Where the files of an image lie, without their suffixes: a folder for each thousand. */
function pathOf(key) { return `images/${Math.floor(Number(key.replace(/\D/g, "")) / 1000)}/${key}`; }
