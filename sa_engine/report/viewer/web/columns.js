"use strict";
/* The dataset's columns: what is known of every image and mask, filtered and sorted. */

const NONE = 65535;

function column(text, Kind) {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  return new Kind(bytes.buffer);
}

class Columns {
  constructor(data) {
    Object.assign(this, data);
    this.length = this.keys.length;
    this.tables = data.tables.map(table => ({
      first: column(table.first, Uint32Array),
      area: column(table.area, Uint32Array),
      iou: column(table.iou, Uint16Array),
      stability: column(table.stability, Uint16Array),
      match: column(table.match, Uint16Array),
      category: column(table.category, Uint16Array),
      stage: column(table.stage, Uint8Array),
    }));
    this.passing = this.tables.map(table => new Uint8Array(table.area.length).fill(1));
  }

  masks(image) { return this.tables.reduce((sum, table) => sum + table.first[image + 1] - table.first[image], 0); }

  /* Positions of the images to be shown, in order; sets which masks pass.
     filter: {text, status, stage, category, match, iou, stability, area}; the last three [from, to] or null. */
  choose(filter, sort) {
    const limits = pair => pair && [Math.ceil(pair[0] * 10000 - 0.5), Math.floor(pair[1] * 10000 + 0.5)];
    const iou = limits(filter.iou), stability = limits(filter.stability), area = filter.area;
    const { stage, category, match } = filter;
    const active = iou || stability || area || stage !== "" || category !== "" || match !== "";
    this.tables.forEach((table, set) => {
      const passing = this.passing[set];
      for (let i = 0; i < passing.length; i++) {
        passing[i] = (!iou || (table.iou[i] !== NONE && table.iou[i] >= iou[0] && table.iou[i] <= iou[1]))
          && (!stability || (table.stability[i] !== NONE && table.stability[i] >= stability[0] && table.stability[i] <= stability[1]))
          && (!area || (table.area[i] >= area[0] && table.area[i] <= area[1]))
          && (stage === "" || table.stage[i] === stage) && (category === "" || table.category[i] === category)
          && (match === "" || (table.match[i] !== NONE) === (match === 1)) ? 1 : 0;
      }
    });
    const text = filter.text.toLowerCase(), chosen = [];
    for (let image = 0; image < this.length; image++) {
      if (filter.status === "ok" ? this.reason[image] >= 0 : filter.status !== "" && this.reason[image] !== filter.status) continue;
      if (text && this.keys[image] !== text && !this.sources[image].toLowerCase().includes(text)) continue;
      if (active && !this.tables.some((table, set) => this.passing[set].subarray(table.first[image], table.first[image + 1]).includes(1))) continue;
      chosen.push(image);
    }
    return this.sorted(chosen, sort);
  }

  sorted(images, sort) {
    const value = new Float64Array(this.length);
    const over = (image, name, start, join) => {
      let found = start, count = 0;
      this.tables.forEach((table, set) => {
        for (let i = table.first[image]; i < table.first[image + 1]; i++) {
          if (!this.passing[set][i] || (name !== "area" && name !== "count" && name !== "matched" && table[name][i] === NONE)) continue;
          count += 1;
          found = join(found, name === "count" ? 1 : name === "matched" ? (table.match[i] === NONE ? 0 : 10000) : table[name][i]);
        }
      });
      return [found, count];
    };
    const sum = (a, b) => a + b;
    const mean = name => image => { const [total, count] = over(image, name, 0, sum); return count ? total / count : Infinity; };
    const orders = {
      "": image => image,
      most: image => -over(image, "count", 0, sum)[0],
      fewest: image => over(image, "count", 0, sum)[0],
      largest: image => -over(image, "area", 0, Math.max)[0],
      smallest: image => over(image, "area", Infinity, Math.min)[0],
      iou: mean("iou"), stability: mean("stability"), matched: mean("matched"),
    };
    if (sort === "name") return images.sort((a, b) => (this.sources[a] < this.sources[b] ? -1 : this.sources[a] > this.sources[b] ? 1 : a - b));
    if (sort) for (const image of images) value[image] = orders[sort](image);
    return sort ? images.sort((a, b) => (value[a] === value[b] ? a - b : value[a] - value[b])) : images;
  }
}
