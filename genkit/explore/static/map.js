// The map: all points on one canvas, to zoom, to move, and to drag a cursor over.

// Ten colours of at least 3:1 against the ground, for each scheme. A class also has a shape and its name on the map,
// so none is known by its colour alone; an eleventh class takes the first colour with another shape.
const COLOURS = {
  light: "#332288 #d1050c #1f86b8 #117733 #9a7000 #aa4499 #138a78 #882255 #6f7000 #1b1b1f".split(" "),
  dark: "#9b8cff #ff6b61 #88ccee #5cc46a #e6cf6e #e08ad2 #46c8b0 #f08fae #b9bf4a #f2f2f5".split(" "),
};
const SHAPES = ["circle", "triangle", "square", "diamond", "plus", "cross", "drop", "ring", "frame", "star"];
const MOST_NAMED = 20; // more names on the map would hide it
const HOVER_REACH = 14; // pixels from the pointer to a point that it still means
const CLICK_REACH = 4; // pixels that a pointer may move in a click
const STEP = 8; // pixels that an arrow key moves the cursor
const MOST_ZOOM = 120;

/** How the class of this number is drawn. */
export function styleOf(group, dark) {
  const colours = dark ? COLOURS.dark : COLOURS.light;
  return {
    colour: colours[group % colours.length],
    shape: SHAPES[(group + Math.floor(group / colours.length)) % SHAPES.length],
  };
}

/** Draw a class's mark of radius `r` about (x, y). */
export function mark(context, { colour, shape }, x, y, r) {
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = Math.max(1, r * 0.6);
  const polygon = (corners, turn, radius) => {
    context.beginPath();
    for (let k = 0; k < corners; k++) {
      const angle = turn + (2 * Math.PI * k) / corners;
      const length = Array.isArray(radius) ? radius[k % 2] : radius;
      context.lineTo(x + length * Math.cos(angle), y + length * Math.sin(angle));
    }
    context.closePath();
  };
  const up = -Math.PI / 2;
  if (shape === "circle" || shape === "ring") {
    context.beginPath();
    context.arc(x, y, shape === "ring" ? r * 0.8 : r, 0, 2 * Math.PI);
  } else if (shape === "triangle") polygon(3, up, r * 1.3);
  else if (shape === "drop") polygon(3, -up, r * 1.3);
  else if (shape === "square" || shape === "frame") polygon(4, Math.PI / 4, shape === "frame" ? r * 1.1 : r * 1.25);
  else if (shape === "diamond") polygon(4, 0, r * 1.3);
  else if (shape === "star") polygon(10, up, [r * 1.5, r * 0.65]);
  else {
    const [dx, dy] = shape === "plus" ? [r * 1.2, 0] : [r * 0.9, r * 0.9];
    context.beginPath();
    context.moveTo(x - dx, y - dy);
    context.lineTo(x + dx, y + dy);
    context.moveTo(x - dy, y + dx);
    context.lineTo(x + dy, y - dx);
  }
  if (["ring", "frame", "plus", "cross"].includes(shape)) context.stroke();
  else context.fill();
}

/**
 * A map within an element.
 *
 * `events` are functions: move(x, y) while the cursor is dragged, pick(x, y) after a click or Enter, and
 * hover(index, tip, byKeys), which fills the element that stands beside the pointer, or beside the cursor that keys
 * have moved. Coordinates are the map's own.
 */
export class LatentMap {
  constructor(host, events) {
    this.host = host;
    this.events = events;
    this.points = new Float32Array(0);
    this.groups = null; // each point's class, or null
    this.names = [];
    this.hidden = new Set();
    this.axes = null;
    this.cursor = null;
    this.path = { line: [], stops: [], at: null };
    this.marks = [];
    this.view = { x: 0, y: 0, scale: 1, fitted: true };
    this.panning = false;
    this.pointers = new Map();
    this.hovered = null;
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.canvas = document.createElement("canvas");
    this.canvas.id = "map-canvas";
    this.canvas.setAttribute("aria-hidden", "true");
    this.layer = document.createElement("canvas");
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.id = "tip";
    this.tip.hidden = true;
    host.append(this.canvas, this.tip);
    this.scheme.addEventListener("change", () => this.changed(true));
    new ResizeObserver(() => this.resized()).observe(host);
    this.listen();
  }

  get dark() {
    return this.scheme.matches;
  }

  setPoints(points) {
    this.points = points;
    this.fit();
  }

  /** Colour by these classes: `groups` holds each point's number, -1 for none; null where there are no classes. */
  setGroups(names, groups) {
    this.names = names;
    this.groups = groups;
    this.hidden.clear();
    this.medians = names.map((_, group) => this.medianOf(group));
    this.changed(true);
  }

  setHidden(groups) {
    this.hidden = new Set(groups);
    this.changed(true);
  }

  setCursor(x, y) {
    this.cursor = [x, y];
    this.changed();
  }

  /** A walk: its line and its stops as lists of [x, y], and where it is just now, or null. */
  setPath(line, stops, at) {
    this.path = { line, stops, at };
    this.changed();
  }

  /** Places with a name of their own: [{x, y, name}]. */
  setMarks(marks) {
    this.marks = marks;
    this.changed();
  }

  setPanning(panning) {
    this.panning = panning;
    this.host.classList.toggle("panning", panning);
  }

  medianOf(group) {
    const [xs, ys] = [[], []];
    for (let k = 0; k < this.groups.length; k++) {
      if (this.groups[k] !== group) continue;
      xs.push(this.points[2 * k]);
      ys.push(this.points[2 * k + 1]);
    }
    const middle = (values) => Float32Array.from(values).sort()[values.length >> 1];
    return xs.length ? [middle(xs), middle(ys)] : null;
  }

  // ------------------------------------------------------------------------------------------------ the view

  /** Show all points. */
  fit() {
    this.view.fitted = true;
    const { width, height } = this.size();
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let k = 0; k < this.points.length; k += 2) {
      left = Math.min(left, this.points[k]);
      right = Math.max(right, this.points[k]);
      low = Math.min(low, this.points[k + 1]);
      high = Math.max(high, this.points[k + 1]);
    }
    if (!this.points.length) [left, right, low, high] = [-1, 1, -1, 1];
    this.view.x = (left + right) / 2;
    this.view.y = (low + high) / 2;
    const edge = this.axes ? 30 : 18; // room for the numbers of the axes
    this.view.scale = Math.min(
      Math.max(40, width - 2 * edge) / (right - left || 1),
      Math.max(40, height - 2 * edge) / (high - low || 1),
    );
    this.view.whole = this.view.scale;
    this.changed(true);
  }

  /** Zoom by a factor about a place on the screen, the middle by default. */
  zoom(factor, at) {
    const { width, height } = this.size();
    const [px, py] = at || [width / 2, height / 2];
    const [x, y] = this.toMap(px, py);
    const whole = this.view.whole || this.view.scale;
    this.view.scale = Math.min(whole * MOST_ZOOM, Math.max(whole * 0.4, this.view.scale * factor));
    this.view.x = x - (px - width / 2) / this.view.scale;
    this.view.y = y + (py - height / 2) / this.view.scale;
    this.view.fitted = false;
    this.changed(true);
  }

  /** Move what is seen by pixels. */
  shift(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.view.fitted = false;
    this.changed(true);
  }

  size() {
    return { width: this.host.clientWidth, height: this.host.clientHeight };
  }

  toMap(px, py) {
    const { width, height } = this.size();
    return [this.view.x + (px - width / 2) / this.view.scale, this.view.y - (py - height / 2) / this.view.scale];
  }

  toScreen(x, y) {
    const { width, height } = this.size();
    return [width / 2 + (x - this.view.x) * this.view.scale, height / 2 - (y - this.view.y) * this.view.scale];
  }

  /** The shown point nearest to a place on the screen, or null where none is within `reach` pixels. */
  nearest(px, py, reach = Infinity) {
    const [x, y] = this.toMap(px, py);
    let [best, distance] = [null, (reach / this.view.scale) ** 2];
    for (let k = 0; k < this.points.length / 2; k++) {
      const d = (this.points[2 * k] - x) ** 2 + (this.points[2 * k + 1] - y) ** 2;
      if (d < distance && !this.isHidden(k)) [best, distance] = [k, d];
    }
    return best;
  }

  isHidden(point) {
    return this.groups !== null && this.hidden.has(this.groups[point]);
  }

  // ------------------------------------------------------------------------------------------------ drawing

  /** Draw at the next frame; the points too where they have changed or moved. */
  changed(points = false) {
    this.stale = this.stale || points;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  resized() {
    const ratio = globalThis.devicePixelRatio || 1;
    const { width, height } = this.size();
    for (const canvas of [this.canvas, this.layer]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    if (this.view.fitted) this.fit();
    this.stale = true;
    this.draw(); // at once: a canvas that has been resized is empty
  }

  draw() {
    const ratio = this.canvas.width / Math.max(1, this.size().width);
    const style = getComputedStyle(this.host);
    const ink = {};
    for (const name of ["ink", "faint", "line", "ground"]) ink[name] = style.getPropertyValue("--" + name).trim();
    if (this.stale) this.drawPoints(ratio, ink);
    this.stale = false;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.layer, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawLine(context, ink);
    this.drawNames(context, ink);
    this.drawStops(context, ink);
    for (const each of this.marks) this.drawMark(context, ink, each);
    if (this.cursor) this.drawCursor(context, ink);
  }

  radius() {
    const count = this.points.length / 2;
    const base = count > 5000 ? 1.5 : count > 1200 ? 2 : 3;
    const zoomed = Math.max(1, this.view.scale / (this.view.whole || 1));
    return Math.min(7, base * zoomed ** 0.45);
  }

  drawPoints(ratio, ink) {
    const context = this.layer.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.layer.width, this.layer.height);
    if (this.axes) this.drawAxes(context, ratio, ink);
    const r = this.radius() * ratio;
    const half = Math.ceil(r * 1.6) + 1;
    const stamp = (style) => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 2 * half;
      mark(canvas.getContext("2d"), style, half, half, r);
      return canvas;
    };
    const plain = stamp({ colour: ink.faint, shape: "circle" });
    const stamps = this.names.map((_, group) => stamp(styleOf(group, this.dark)));
    const [width, height] = [this.layer.width, this.layer.height];
    const scale = this.view.scale * ratio;
    const [left, top] = [width / 2 - this.view.x * scale - half, height / 2 + this.view.y * scale - half];
    // Those that the legend hides lie faintly below the others.
    for (const shown of [false, true]) {
      context.globalAlpha = shown ? 0.85 : 0.12;
      for (let k = 0; k < this.points.length / 2; k++) {
        const group = this.groups ? this.groups[k] : -1;
        if (this.hidden.has(group) === shown) continue;
        const x = Math.round(left + this.points[2 * k] * scale);
        const y = Math.round(top - this.points[2 * k + 1] * scale);
        if (x < -2 * half || y < -2 * half || x > width || y > height) continue;
        context.drawImage(shown && group >= 0 ? stamps[group] : plain, x, y);
      }
    }
    context.globalAlpha = 1;
  }

  drawAxes(context, ratio, ink) {
    const { width, height } = this.size();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, sans-serif";
    context.lineWidth = 1;
    const rough = 60 / this.view.scale;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const written = (value) => (Math.abs(value) < step / 2 ? "0" : value.toFixed(decimals).replace("-", "−"));
    const [left, high] = this.toMap(0, 0);
    const [right, low] = this.toMap(width, height);
    context.strokeStyle = ink.line;
    context.fillStyle = ink.faint;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    for (let value = Math.ceil(left / step) * step; value <= right; value += step) {
      const x = Math.round(this.toScreen(value, 0)[0]) + 0.5;
      this.line(context, [[x, 0], [x, height]]);
      if (x > 40 && x < width - 16) context.fillText(written(value), x, height - 6);
    }
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
      const y = Math.round(this.toScreen(0, value)[1]) + 0.5;
      this.line(context, [[0, y], [width, y]]);
      if (y > 16 && y < height - 24) context.fillText(written(value), 6, y);
    }
    context.textAlign = "right";
    const [across, up] = this.axes.map((name) => (width < 500 ? name.replace("principal component", "PC") : name));
    this.haloed(context, ink, across, width - 10, height - 22, ink.faint);
    context.save();
    context.translate(34, 10);
    context.rotate(-Math.PI / 2);
    this.haloed(context, ink, up, 0, 0, ink.faint);
    context.restore();
    context.setTransform(1, 0, 0, 1, 0, 0);
  }

  line(context, places) {
    context.beginPath();
    for (const [x, y] of places) context.lineTo(x, y);
    context.stroke();
  }

  haloed(context, ink, text, x, y, colour) {
    context.lineJoin = "round";
    context.lineWidth = 4;
    context.strokeStyle = ink.ground;
    context.strokeText(text, x, y);
    context.fillStyle = colour;
    context.fillText(text, x, y);
    context.lineWidth = 1;
    context.strokeStyle = ink.line;
  }

  /** Each class's name at its median, moved apart where names would overlap. */
  drawNames(context, ink) {
    if (this.names.length > MOST_NAMED || !this.medians) return;
    const { width, height } = this.size();
    const small = Math.min(width, height) < 320;
    const pitch = small ? 18 : 24;
    context.font = `600 ${small ? 11 : 13}px system-ui, sans-serif`;
    const boxes = [];
    this.names.forEach((name, group) => {
      if (!this.medians[group] || this.hidden.has(group)) return;
      const [x, y] = this.toScreen(...this.medians[group]);
      if (x < 0 || y < 0 || x > width || y > height) return;
      const short = name.length > 18 ? name.slice(0, 17) + "…" : name;
      boxes.push({ group, short, x, y, half: context.measureText(short).width / 2 + 14 });
    });
    for (let round = 0; round < 30; round++) {
      for (const a of boxes) {
        for (const b of boxes) {
          if (a === b || Math.abs(a.x - b.x) >= a.half + b.half || Math.abs(a.y - b.y) >= pitch) continue;
          const push = (pitch - Math.abs(a.y - b.y)) / 2 + 0.5;
          const sign = a.y < b.y || (a.y === b.y && a.group < b.group) ? -1 : 1;
          a.y += sign * push;
          b.y -= sign * push;
        }
      }
    }
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const { group, short, x, y, half } of boxes) {
      const style = styleOf(group, this.dark);
      context.beginPath();
      context.roundRect(x - half, y - pitch / 2 + 1, 2 * half, pitch - 2, pitch / 2);
      context.globalAlpha = 0.9;
      context.fillStyle = ink.ground;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 1.5;
      context.strokeStyle = style.colour;
      context.stroke();
      mark(context, style, x - half + 10, y, 3.5);
      context.fillStyle = ink.ink;
      context.fillText(short, x - half + 18, y + 0.5);
    }
  }

  drawLine(context, ink) {
    const places = this.path.line.map(([x, y]) => this.toScreen(x, y));
    context.lineJoin = context.lineCap = "round";
    for (const [width, colour] of [[5, ink.ground], [2, ink.ink]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      if (places.length > 1) this.line(context, places);
    }
  }

  drawStops(context, ink) {
    const { stops, at } = this.path;
    stops.forEach(([x, y], number) => this.disc(context, ink, this.toScreen(x, y), String(number + 1)));
    if (!at) return;
    const [x, y] = this.toScreen(...at);
    context.beginPath();
    context.arc(x, y, 5, 0, 2 * Math.PI);
    context.fillStyle = ink.ground;
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = ink.ink;
    context.stroke();
  }

  drawMark(context, ink, { x, y, name }) {
    const [px, py] = this.toScreen(x, y);
    this.disc(context, ink, [px, py - 26], name); // above the cursor, which is usually there too
  }

  disc(context, ink, [x, y], text) {
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const half = Math.max(9, context.measureText(text).width / 2 + 6);
    context.beginPath();
    context.roundRect(x - half, y - 9, 2 * half, 18, 9);
    context.fillStyle = ink.ink;
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = ink.ground;
    context.stroke();
    context.fillStyle = ink.ground;
    context.fillText(text, x, y + 0.5);
  }

  drawCursor(context, ink) {
    const [x, y] = this.toScreen(...this.cursor);
    for (const [width, colour] of [[5, ink.ground], [2, ink.ink]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.lineCap = "round";
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      context.stroke();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        this.line(context, [[x + 9 * dx, y + 9 * dy], [x + 15 * dx, y + 15 * dy]]);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ pointer and keys

  listen() {
    const { canvas, host } = this;
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.movedTo(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.released(event));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
        this.zoom(Math.exp(-Math.max(-240, Math.min(240, pixels)) / 300), this.placeOf(event));
      },
      { passive: false },
    );
    host.addEventListener("keydown", (event) => this.typed(event));
    host.addEventListener("blur", () => this.hover(null));
    addEventListener("keydown", (event) => {
      const elsewhere = event.target !== host && event.target !== document.body;
      if (event.key !== " " || elsewhere || !(canvas.matches(":hover") || event.target === host)) return;
      event.preventDefault();
      this.space = true;
      host.classList.add("panning");
    });
    addEventListener("keyup", (event) => {
      if (event.key !== " ") return;
      this.space = false;
      host.classList.toggle("panning", this.panning);
    });
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  pressed(event) {
    event.preventDefault();
    this.host.focus({ preventScroll: true, focusVisible: false });
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is already gone has nothing to be followed
    }
    const at = this.placeOf(event);
    this.pointers.set(event.pointerId, at);
    this.hover(null);
    this.start = at;
    this.pinched = this.pointers.size > 1;
    this.moving = this.panning || this.space || event.button !== 0;
    if (!this.pinched && !this.moving) this.drag(at);
  }

  movedTo(event) {
    const at = this.placeOf(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.hover(this.nearest(...at, HOVER_REACH), at);
      return;
    }
    if (this.pinched) this.pinch(event.pointerId, before, at);
    else if (this.moving) this.shift(at[0] - before[0], at[1] - before[1]);
    else this.drag(at);
    this.pointers.set(event.pointerId, at);
  }

  /** Two fingers: what lies between them stays between them. */
  pinch(id, before, at) {
    const other = [...this.pointers].find(([each]) => each !== id);
    if (!other) return;
    const distance = ([x, y]) => Math.max(10, Math.hypot(x - other[1][0], y - other[1][1]));
    const middle = ([x, y]) => [(x + other[1][0]) / 2, (y + other[1][1]) / 2];
    const [from, to] = [middle(before), middle(at)];
    this.shift(to[0] - from[0], to[1] - from[1]);
    this.zoom(distance(at) / distance(before), to);
  }

  released(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const at = this.placeOf(event);
    const still = Math.hypot(at[0] - this.start[0], at[1] - this.start[1]) <= CLICK_REACH;
    if (event.type !== "pointerup" || this.pinched || this.moving || !still) return;
    this.events.pick(...this.toMap(...this.start));
    if (event.pointerType === "touch") this.hover(this.nearest(...at, HOVER_REACH), at);
  }

  drag(at) {
    this.cursor = this.toMap(...at);
    this.changed();
    this.events.move(...this.cursor);
  }

  typed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const views = { a: [1, 0], d: [-1, 0], w: [0, 1], s: [0, -1] };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (arrows[key]) {
      const step = event.shiftKey ? 5 * STEP : STEP;
      const { width, height } = this.size();
      const [x, y] = this.cursor ? this.toScreen(...this.cursor) : [width / 2, height / 2];
      // A cursor out of sight comes back to the edge.
      const at = [
        Math.min(width - 1, Math.max(1, x + arrows[key][0] * step)),
        Math.min(height - 1, Math.max(1, y + arrows[key][1] * step)),
      ];
      this.drag(at);
      this.hover(this.nearest(...at, 2 * HOVER_REACH), at, true);
    } else if (views[key]) this.shift(views[key][0] * 40, views[key][1] * 40);
    else if (key === "+" || key === "=") this.zoom(1.4);
    else if (key === "-" || key === "_") this.zoom(1 / 1.4);
    else if (key === "0") this.fit();
    else if (key === "Escape") this.hover(null);
    else if (key === "Enter" && this.cursor) this.events.pick(...this.cursor);
    else return;
    event.preventDefault();
  }

  hover(index, at, byKeys = false) {
    this.hovered = index;
    if (index === null) {
      this.tip.hidden = true;
      return;
    }
    this.events.hover(index, this.tip, byKeys);
    this.tip.hidden = false;
    const { width, height } = this.size();
    const [wide, high] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const left = at[0] + 18 + wide > width ? at[0] - 18 - wide : at[0] + 18;
    const top = at[1] + 18 + high > height ? at[1] - 18 - high : at[1] + 18;
    this.tip.style.left = Math.max(4, left) + "px";
    this.tip.style.top = Math.max(4, top) + "px";
  }
}
