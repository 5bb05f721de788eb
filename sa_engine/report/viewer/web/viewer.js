"use strict";
/* The page: what is shown, which image is open, what the keys do. */

const find = id => document.getElementById(id);
const HELD = 12;

class Viewer {
  constructor(data) {
    this.columns = new Columns(data);
    this.data = data;
    this.grid = new Grid(this.columns, image => this.open(image));
    this.panes = data.sets.map(name => new Pane(data.sets.length > 1 ? name : "", this));
    find("panes").append(...this.panes.map(pane => pane.element));
    this.order = [];
    this.image = null;
    this.selected = null;
    this.isOn = true;
    this.isAlone = false;
    this.opacity = 0.45;
    this.view = { scale: 1, x: 0, y: 0 };
    this.imageSize = [1, 1];
    this.loaded = new Map();
    find("title").textContent = data.title;
    find("note").textContent = data.note || "";
    find("note").hidden = !data.note;
    this.makeControls();
    new ResizeObserver(() => { if (this.image !== null) this.fit(); }).observe(find("panes"));
    addEventListener("keydown", event => this.key(event));
    addEventListener("hashchange", () => this.follow());
    this.choose();
    this.follow();
  }

  makeControls() {
    const { data, columns } = this, options = (id, items) => find(id).append(...items.map(([value, text]) => new Option(text, value)));
    const several = data.sets.length > 1;
    options("sort", [["", "as listed"], ["name", "file name"], ["most", "most masks"], ["fewest", "fewest masks"], ["largest", "largest mask"], ["smallest", "smallest mask"],
      ["iou", "lowest predicted IoU"], ["stability", "lowest stability"], ...(several ? [["matched", "least agreement"]] : [])]);
    const failed = columns.reason.filter(reason => reason >= 0).length;
    options("status", [["", "all"], ["ok", `went through (${columns.length - failed})`],
      ...data.reasons.map((reason, i) => [i, `failed: ${reason} (${columns.reason.filter(each => each === i).length})`])]);
    options("stage", [["", "all"], ...data.stages.map((stage, i) => [i, stage])]);
    options("category", [["", "all"], ...data.categories.map((name, i) => [i, name])]);
    options("match", [["", "all"], [1, "with counterpart"], [0, "without counterpart"]]);
    find("match-label").hidden = !several;
    find("match-label").style.display = several ? "" : "none";
    for (const id of ["sort", "status", "stage", "category", "match"]) find(id).addEventListener("change", () => this.choose());
    for (const id of ["iou", "stability", "area", "search"]) find(id).addEventListener("input", () => this.choose());
    find("clear").addEventListener("click", () => {
      for (const id of ["sort", "status", "stage", "category", "match", "iou", "stability", "area", "search"]) find(id).value = "";
      this.choose();
    });
    find("opacity").addEventListener("input", event => { this.opacity = event.target.value / 100; this.drawMasks(); });
    find("help-button").addEventListener("click", () => find("help").showModal());
    find("masks").addEventListener("click", event => {
      const item = event.target.closest("li");
      if (item) this.select(this.listed[Number(item.dataset.at)]);
    });
  }

  /* [from, to] of a range field; null if it is empty. What cannot be read is marked and does not filter. */
  range(id) {
    const field = find(id), text = field.value.trim(), match = text.match(/^([\d.]+)?\s*(?:(?:-|–|to)\s*([\d.]+)?)?$/);
    const pair = text && match ? [Number(match[1] || 0), match[2] === undefined ? Infinity : Number(match[2])] : null;
    field.classList.toggle("wrong", Boolean(text) && (!pair || pair.some(Number.isNaN)));
    return pair && !pair.some(Number.isNaN) ? pair : null;
  }

  choose() {
    const number = id => (find(id).value === "" ? "" : Number(find(id).value)), status = find("status").value;
    const filter = { text: find("search").value.trim(), status: status === "" || status === "ok" ? status : Number(status), stage: number("stage"),
      category: number("category"), match: number("match"), iou: this.range("iou"), stability: this.range("stability"), area: this.range("area") };
    this.order = this.columns.choose(filter, find("sort").value);
    const masks = this.order.reduce((sum, image) => sum + this.columns.tables.reduce(
      (count, table, set) => { for (let i = table.first[image]; i < table.first[image + 1]; i++) count += this.columns.passing[set][i]; return count; }, 0), 0);
    find("total").textContent = `${this.order.length.toLocaleString("en")} of ${this.columns.length.toLocaleString("en")} images, ${masks.toLocaleString("en")} masks`;
    this.grid.show(this.order);
    if (this.image !== null) { this.mark(); this.drawMasks(); this.list(); }
  }

  /* What the address says: #17 is image 17, #17/3 its third mask. */
  follow() {
    const [key, mask] = decodeURIComponent(location.hash.slice(1)).split("/");
    if (!key) return this.image === null ? undefined : this.close();
    const image = this.columns.keys.indexOf(key);
    if (image < 0) return undefined;
    if (image === this.image && !mask) return undefined;
    return this.open(image, mask ? Number(mask) - 1 : null);
  }

  /* Load an image's photograph and masks; the last few are kept. */
  load(image) {
    const { keys } = this.columns, key = keys[image], held = this.loaded.get(image);
    if (held) { this.loaded.delete(image); this.loaded.set(image, held); return held; }
    const script = document.createElement("script");
    const photo = new Image(), suffix = this.columns.photos[image];
    const masks = new Promise((resolve, reject) => {
      Viewer.waiting.set(key, resolve);
      script.onerror = () => reject(new Error(`${script.src} is missing`));
    });
    script.src = `${pathOf(key)}.js`;
    document.head.append(script);
    let seen = Promise.resolve(null);
    if (suffix) { photo.src = pathOf(key) + suffix; seen = photo.decode().then(() => photo, () => null); }
    const entry = Promise.all([seen, masks]).then(([picture, sets]) => { script.remove(); return { picture, sets }; });
    this.loaded.set(image, entry);
    while (this.loaded.size > HELD) this.loaded.delete(this.loaded.keys().next().value);
    return entry;
  }

  async open(image, maskIndex = null) {
    if (this.columns.reason[image] >= 0) { this.say(`image ${this.columns.keys[image]}: ${this.columns.errors[image]}`); return; }
    this.opening = image;
    let entry;
    try { entry = await this.load(image); } catch (error) { this.say(String(error.message)); return; }
    if (this.opening !== image) return;
    const { columns } = this;
    this.image = image;
    this.photo = entry.picture;
    this.imageSize = [columns.heights[image], columns.widths[image]];
    this.selected = null;
    this.panes.forEach((pane, set) => { pane.masks = this.prepare(entry.sets[set], pane, set); });
    this.join();
    this.mark();
    find("image").hidden = false;
    find("grid").style.display = "none";
    this.fit();
    this.list();
    if (maskIndex !== null && this.panes[0].masks[maskIndex]) this.select(this.panes[0].masks[maskIndex]);
    if (decodeURIComponent(location.hash.slice(1)).split("/")[0] !== columns.keys[image]) history.replaceState(null, "", `#${columns.keys[image]}`);
    document.body.dataset.shown = columns.keys[image];
    const place = this.order.indexOf(image);
    for (const next of [this.order[place + 1], this.order[place - 1]]) {
      if (next !== undefined && columns.reason[next] < 0) this.load(next).catch(() => null);
    }
  }

  prepare(list, pane, set) {
    return list.map((mask, index) => ({
      ...mask, pane, index, edges: mask.edges || (mask.edges = edgesOf(mask.counts)), size: this.imageSize,
      colour: this.panes.length === 1 ? colourOf(index) : UNMATCHED, points: mask.points || [], set, twin: null,
    }));
  }

  /* Masks that match have one colour on both sides. */
  join() {
    if (this.panes.length < 2) return;
    for (const mask of this.panes[0].masks) {
      if (!mask.match) continue;
      mask.twin = this.panes[1].masks[mask.match[0]];
      mask.twin.twin = mask;
      mask.colour = mask.twin.colour = colourOf(mask.index);
    }
  }

  /* Which masks of the open image pass the filters. */
  mark() {
    this.panes.forEach((pane, set) => {
      const first = this.columns.tables[set].first[this.image];
      for (const mask of pane.masks) mask.passes = Boolean(this.columns.passing[set][first + mask.index]);
    });
  }

  close() {
    this.image = this.opening = null;
    find("image").hidden = true;
    find("grid").style.display = "";
    history.replaceState(null, "", location.pathname + location.search);
    delete document.body.dataset.shown;
    this.grid.draw();
  }

  step(by) {
    if (!this.order.length) return;
    const place = this.order.indexOf(this.opening ?? this.image);
    for (let next = place < 0 ? 0 : place + by; next >= 0 && next < this.order.length; next += Math.sign(by) || 1) {
      if (this.columns.reason[this.order[next]] < 0) { this.open(this.order[next]); this.grid.reveal(next); return; }
    }
  }

  say(text) { find("note").textContent = text; find("note").hidden = false; }

  draw() { for (const pane of this.panes) pane.draw(); }
  drawMasks() { for (const pane of this.panes) pane.drawMasks(); }

  fit([x, y, across, down] = [0, 0, this.imageSize[1], this.imageSize[0]]) {
    const [width, height] = this.panes[0].size;
    const scale = Math.max(1e-3, Math.min(width / across, height / down, 32 * devicePixelRatio));
    this.view = { scale, x: x - (width / scale - across) / 2, y: y - (height / scale - down) / 2 };
    this.draw();
  }

  zoom(factor, [x, y] = this.centre()) {
    const scale = Math.min(64, Math.max(0.01, this.view.scale * factor)), kept = this.view.scale / scale;
    this.view = { scale, x: x - (x - this.view.x) * kept, y: y - (y - this.view.y) * kept };
    this.draw();
  }

  centre() { const [width, height] = this.panes[0].size; return [this.view.x + width / 2 / this.view.scale, this.view.y + height / 2 / this.view.scale]; }

  move(x, y) {
    this.view = { ...this.view, x: this.view.x + x / this.view.scale, y: this.view.y + y / this.view.scale };
    this.draw();
  }

  select(mask) {
    this.selected = mask;
    this.drawMasks();
    this.facts();
    for (const item of find("masks").children) item.classList.toggle("chosen", this.listed[Number(item.dataset.at)] === mask);
    const chosen = find("masks").querySelector(".chosen");
    if (chosen) chosen.scrollIntoView({ block: "nearest" });
  }

  selectNext(by) {
    if (!this.listed.length) return;
    const at = this.listed.indexOf(this.selected);
    this.select(this.listed[(at + by + this.listed.length) % this.listed.length]);
  }

  list() {
    this.listed = this.panes.flatMap(pane => pane.shown().sort((a, b) => b.area - a.area));
    find("masks").replaceChildren(...this.listed.map((mask, at) => {
      const item = document.createElement("li"), colour = document.createElement("i");
      item.dataset.at = at;
      colour.style.background = `rgb(${mask.colour})`;
      item.append(colour, `${mask.index + 1} · ${mask.area.toLocaleString("en")} px${mask.iou == null ? "" : ` · ${mask.iou.toFixed(2)}`}${mask.category ? ` · ${mask.category}` : ""}`);
      return item;
    }));
    this.facts();
  }

  facts() {
    const { columns, image, selected } = this, place = this.order.indexOf(image);
    find("where").textContent = `${place + 1} of ${this.order.length} · image ${columns.keys[image]} · ${columns.sources[image]} · ${this.imageSize[1]}×${this.imageSize[0]}`
      + (this.photo ? this.photo.naturalWidth < this.imageSize[1] ? ` · photograph shown from ${this.photo.naturalWidth}×${this.photo.naturalHeight}` : "" : " · its photograph is not there");
    const rows = [];
    if (selected) {
      const number = (value, digits) => (value == null ? null : value.toFixed(digits));
      rows.push(["mask", selected.id], ["set", this.panes.length > 1 ? this.data.sets[selected.set] : null], ["stage", selected.stage], ["category", selected.category],
        ["area", `${selected.area.toLocaleString("en")} px`], ["predicted IoU", number(selected.iou, 3)], ["stability", number(selected.stability, 3)],
        ["box score", number(selected.boxScore, 3)], ["annotator", selected.annotator], ["seconds", number(selected.seconds, 1)],
        ["crowd", selected.crowd ? "yes" : null], ["counterpart", this.panes.length < 2 ? null : selected.match ? `mask ${selected.match[0] + 1}, IoU ${selected.match[1].toFixed(3)}` : "none"]);
    }
    find("facts").replaceChildren(...rows.filter(([, value]) => value != null).flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      return [term, text];
    }));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || find("help").open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range") { if (event.key === "Escape") event.target.blur(); return; }
    const inImage = this.image !== null, actions = {
      ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), j: () => this.step(1), k: () => this.step(-1),
      "/": () => find("search").focus(), "?": () => find("help").showModal(),
    };
    if (inImage) Object.assign(actions, {
      ArrowDown: () => this.selectNext(1), ArrowUp: () => this.selectNext(-1), Escape: () => this.close(),
      m: () => { this.isOn = !this.isOn; this.drawMasks(); }, o: () => { this.isAlone = !this.isAlone; this.drawMasks(); },
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.fit(), 1: () => this.zoom(devicePixelRatio / this.view.scale),
      z: () => { if (this.selected) this.fit(this.selected.box.map((value, i) => (i < 2 ? value - 8 : value + 16))); },
    });
    if (inImage && (event.key === "Home" || event.key === "End")) {
      const ok = this.order.filter(image => this.columns.reason[image] < 0);
      if (ok.length) this.open(event.key === "Home" ? ok[0] : ok[ok.length - 1]);
    } else {
      const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!action) return;
      action();
    }
    event.preventDefault();
  }
}

Viewer.waiting = new Map();

/* What the files of the dataset call. */
const dataset = {
  start(data) { globalThis.viewer = new Viewer(data); },
  masks(key, sets) {
    const resolve = Viewer.waiting.get(key);
    Viewer.waiting.delete(key);
    if (resolve) resolve(sets);
  },
};
