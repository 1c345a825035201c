// A line chart in SVG: all servers together as an area, each server as a thin line.

const LEFT = 50;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const HEIGHT = 170;
const MAX_GAP = 2; // Missing steps that are bridged: polls are not aligned with steps.
const TIME_MARK = 5 * 60 * 1000;
const NICE = [1, 2, 3, 4, 6, 8, 10]; // Upper ends of the axis; their halves are round, too.

/** Return the smallest round number that is not below `number`. */
function niceAbove(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return NICE.map((nice) => nice * power).find((nice) => nice >= number * 0.999999);
}

/** Return the SVG path of values, with a gap where several are missing in a row. */
function linePath(values, x, y) {
  let path = "";
  let before = -Infinity;
  values.forEach((value, place) => {
    if (value === null) return;
    const isGap = place - before > MAX_GAP;
    const at = `${x(place).toFixed(1)},${y(value).toFixed(1)}`;
    // A line of zero length is drawn as a dot, so that a single value is visible.
    path += isGap ? `M${at}h0` : `L${at}`;
    before = place;
  });
  return path;
}

/** Return the same as closed areas down to a base. */
function areaPath(values, x, y, base) {
  let path = "";
  let before = -Infinity;
  values.forEach((value, place) => {
    if (value === null) return;
    const at = `${x(place).toFixed(1)},${y(value).toFixed(1)}`;
    if (place - before > MAX_GAP) {
      if (path) path += `V${base}Z`;
      path += `M${x(place).toFixed(1)},${base}L${at}`;
    } else {
      path += `L${at}`;
    }
    before = place;
  });
  return path ? `${path}V${base}Z` : "";
}

class Chart {
  /**
   * @param about.kind Kind of the history's values.
   * @param about.title Title, with the unit.
   * @param about.write Returns a value as text.
   * @param about.least Smallest upper end of the axis.
   * @param about.half True to mark one half.
   * @param about.second Kind of a second line for all servers, drawn dashed; or undefined.
   * @param about.names Names of the one or two lines for all servers.
   * @param history A History.
   * @param nameOf Returns the name of a server's URL.
   */
  constructor(about, history, nameOf) {
    this.about = about;
    this.history = history;
    this.nameOf = nameOf;
    this.marked = new Map(); // Classes of lines, by URL.
    this.place = null; // The step pointed at; null for the last one.
    this.width = 400;
    this.svg = drawn("svg", { role: "img", tabindex: "0", "aria-label": about.title });
    this.output = made("output", {});
    this.element = made("figure", { className: "chart" },
      made("h3", {}, about.title), this.output, this.svg);
    this.lines = new Map();
    this.grid = drawn("g");
    this.area = drawn("path", { class: "total-area" });
    this.each = drawn("g");
    this.total = drawn("path", { class: "total" });
    this.second = drawn("path", { class: "dashed" });
    this.cursor = drawn("path", { class: "cursor" });
    this.svg.append(this.grid, this.area, this.each, this.second, this.total, this.cursor);
  }

  /** Return the distance of a step from the left. */
  x(place) {
    return LEFT + (place / (STEPS - 1)) * (this.width - LEFT - RIGHT);
  }

  /** Return the step nearest to a distance from the left. */
  placeAt(distance) {
    const share = (distance - LEFT) / (this.width - LEFT - RIGHT);
    return Math.max(0, Math.min(STEPS - 1, Math.round(share * (STEPS - 1))));
  }

  draw() {
    const { kind, least, second } = this.about;
    const { history } = this;
    const all = history.of(ALL, kind);
    const half = second ? history.of(ALL, second) : [];
    const urls = history.urls();
    let most = least;
    for (const url of [ALL, ...urls]) {
      for (const value of history.of(url, kind)) if (value > most) most = value;
    }
    const end = niceAbove(most);
    const floor = HEIGHT - BOTTOM;
    const x = (place) => this.x(place);
    const y = (value) => floor - (value / end) * (floor - TOP);
    this.drawGrid(end, y);
    setAttribute(this.area, "d", areaPath(all, x, y, floor));
    setAttribute(this.total, "d", linePath(all, x, y));
    setAttribute(this.second, "d", linePath(half, x, y));
    for (const url of urls) {
      if (!this.lines.has(url)) this.lines.set(url, drawn("path", { class: "one" }));
      setAttribute(this.lines.get(url), "d", linePath(history.of(url, kind), x, y));
    }
    for (const url of [...this.lines.keys()]) {
      if (!history.series.has(url)) this.lines.delete(url);
    }
    this.mark(this.marked);
  }

  /** Highlight the lines of some servers: classes by URL. */
  mark(marked) {
    this.marked = marked;
    for (const [url, line] of this.lines) setClass(line, `one ${marked.get(url) || ""}`.trim());
    // Marked lines are drawn last, above the others.
    const lines = [...this.lines].sort(([a], [b]) => marked.has(a) - marked.has(b));
    setChildren(this.each, lines.map(([, line]) => line));
    this.point(this.place);
  }

  /** Show the values of a step; of the last one if null. */
  point(place) {
    this.place = place;
    const at = place === null ? "" : `M${this.x(place).toFixed(1)},${TOP}V${HEIGHT - BOTTOM}`;
    setAttribute(this.cursor, "d", at);
    const text = this.reading(place === null ? STEPS - 1 : place);
    setText(this.output, text);
    setAttribute(this.svg, "aria-label", `${this.about.title}, last 15 minutes. ${text}`);
  }

  reading(place) {
    const { kind, write, second, names } = this.about;
    const { history } = this;
    const valueOf = (of) => write(of.length ? of[place] : null);
    const parts = [timeOfDay((history.first + place) * STEP)];
    if (second) parts.push(`${names[1]} ${valueOf(history.of(ALL, second))}`);
    parts.push(`${names[0]} ${valueOf(history.of(ALL, kind))}`);
    const values = history.urls()
      .map((url) => [url, history.of(url, kind)[place]])
      .filter(([, value]) => value !== null && value > 0)
      .sort(([, a], [, b]) => b - a);
    const marked = values.filter(([url]) => this.marked.has(url));
    const shown = new Map([...values.slice(0, 1), ...marked.slice(0, 3)]);
    for (const [url, value] of shown) parts.push(`${this.nameOf(url)} ${write(value)}`);
    return parts.join(" · ");
  }

  drawGrid(end, y) {
    const { write, half } = this.about;
    const marks = half ? [0, 0.5, 1, end].filter((v, i, all) => all.indexOf(v) === i) : [0, end / 2, end];
    const parts = [];
    for (const mark of marks) {
      const at = Math.round(y(mark)) + 0.5;
      const className = half && mark === 0.5 ? "half" : "grid";
      parts.push(drawn("path", { class: className, d: `M${LEFT},${at}H${this.width - RIGHT}` }));
      parts.push(drawn("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" },
        mark === 0 ? "0" : write(mark)));
    }
    const firstAt = this.history.first * STEP;
    const lastAt = this.history.last * STEP;
    for (let at = Math.ceil(firstAt / TIME_MARK) * TIME_MARK; at <= lastAt; at += TIME_MARK) {
      const from = this.x((at - firstAt) / STEP);
      const anchor = from > this.width - 30 ? "end" : from < LEFT + 16 ? "start" : "middle";
      parts.push(drawn("text", { x: from, y: HEIGHT - 5, "text-anchor": anchor }, timeOfDay(at).slice(0, 5)));
    }
    setChildren(this.grid, parts);
  }
}
