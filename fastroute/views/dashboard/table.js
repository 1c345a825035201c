// The table of servers: one row each, on a phone one card.

const STATES = {
  up: ["●", "up", "good"],
  trial: ["◐", "trial", "warn-text"],
  cooling: ["◌", "cooling", "warn-text"],
  draining: ["▽", "draining", "warn-text"],
  down: ["✕", "down", "bad-text"],
  ejected: ["⊘", "ejected", "bad-text"],
  asleep: ["☾", "asleep", "warn-text"],
};

const OLD_SECONDS = 5;

const engine = (name) => (server) => server.detailed_metrics[name];
const prefixHits = ({ detailed_metrics: metrics }) =>
  metrics.prefix_cache_queries_total ? metrics.prefix_cache_hits_total / metrics.prefix_cache_queries_total : null;
const loadShare = (server) => server.utilization_percent / 100;

/**
 * Columns: title, value in the report and text form of each number. `by` is the sort key, if not the
 * value; `level` is a share that is coloured from 70 %; `up` sorts ascending by default; `scraped`
 * marks values from the server's own metrics, which may be old.
 */
const COLUMNS = [
  { key: "name", title: "Server", value: (s) => s.name, up: true, className: "name" },
  { key: "state", title: "State", value: (s) => s.status, by: severityOf, className: "state left" },
  { key: "load", title: "Load", value: loadShare, className: "load left",
    about: "Current load as a share of capacity. The mark is at 50 %." },
  { key: "running", title: "Running", value: engine("num_requests_running"), write: count, scraped: true,
    about: "Requests running on the server, from its metrics." },
  { key: "waiting", title: "Waiting", value: engine("num_requests_waiting"), write: count, scraped: true,
    colour: (s) => (s.detailed_metrics.num_requests_waiting > 0 ? "warn-text" : ""),
    about: "Requests in the server's queue, from its metrics." },
  { key: "own", title: "Own in\nflight", value: (s) => s.in_flight, write: count,
    about: "Requests in flight from this router." },
  { key: "capacity", title: "Capa-\ncity", value: (s) => s.max_capacity, write: count,
    about: "max_concurrent_requests" },
  { key: "score", title: "Score", value: (s) => s.score, write: (n) => fixed(n, 2),
    about: "Load that is compared; 1: full." },
  { key: "kv", title: "KV\ncache", value: engine("gpu_cache_usage_perc"), write: percent, scraped: true,
    level: engine("gpu_cache_usage_perc"), about: "Share of the KV cache in use." },
  { key: "hits", title: "Prefix\nhits", value: prefixHits, write: percent, scraped: true,
    about: "Prefix cache hit rate, of prompt tokens." },
  { key: "requests", title: "Re-\nquests/s", value: (s) => s.recent.requests_per_second, write: count,
    about: "Requests sent to it per second, over the last 5 s." },
  { key: "tokens", title: "Tokens/s", value: (s) => s.recent.tokens_per_second, write: count,
    about: "Tokens it generates per second, over the last 5 s." },
  { key: "p50", title: "First byte\np50", value: (s) => s.recent.first_byte_p50_seconds, write: seconds,
    about: "Median time to the first byte, over the last 30 s." },
  { key: "p99", title: "First byte\np99", value: (s) => s.recent.first_byte_p99_seconds, write: seconds,
    about: "99th percentile of the time to the first byte, over the last 30 s." },
  { key: "errors", title: "Errors", value: (s) => s.errors, by: (s) => (s.recent.errors_per_second || 0) * 1e9 + s.errors,
    write: count, colour: (s) => (s.recent.errors_per_second > 0 ? "bad-text" : ""),
    extra: (s) => (s.recent.errors_per_second > 0 ? ` (${count(s.recent.errors_per_second)}/s)` : ""),
    about: "5xx and broken responses since the start; in brackets, the current rate." },
  { key: "age", title: "Scrape\nage", value: (s) => s.scrape_age_seconds, write: seconds, scraped: true,
    about: "Time since its last scrape." },
  { key: "models", title: "Models", value: (s) => modelsOf(s), up: true, className: "models left" },
];

const ORDERS = [
  ["problems", "problems first"],
  ["config", "as configured"],
  ...COLUMNS.filter(({ key }) => key !== "state")
    .map(({ key, title }) => [key, title.replace("-\n", "").replace("\n", " ").toLowerCase()]),
];

function modelsOf({ models }) {
  if (models === null) return "any model";
  return models.join(", ") || "none";
}

class Row {
  constructor(onPoint, onPin) {
    this.cells = {};
    this.element = made("tr");
    for (const column of COLUMNS) {
      const cell = column.key === "name"
        ? made("th", { className: "name", scope: "row" })
        : made("td", { className: column.className || "", "data-label": column.title.replace("-\n", "").replace("\n", " ") });
      this.cells[column.key] = cell;
      this.element.append(cell);
    }
    this.pin = made("button", { type: "button", "aria-pressed": "false" });
    this.cells.name.append(this.pin);
    this.word = made("span", { className: "word" });
    this.why = made("span", { className: "why" });
    this.odd = made("span", { className: "odd" });
    this.cells.state.append(this.word, this.why, this.odd);
    this.fill = made("div", { className: "fill" });
    this.number = made("span", { className: "number" });
    this.cells.load.append(made("div", { className: "meter" },
      made("div", { className: "track", "aria-hidden": "true" }, this.fill), this.number));
    this.element.addEventListener("pointerenter", () => onPoint(this.url));
    this.element.addEventListener("pointerleave", () => onPoint(null));
    this.pin.addEventListener("click", () => onPin(this.url));
  }

  draw(server, isPinned) {
    this.url = server.url;
    const severity = severityOf(server);
    const kind = isAlarming(server) ? "bad" : severity > 1 ? "warn" : "";
    setClass(this.element, [kind, isPinned ? "pinned" : ""].filter(Boolean).join(" "));
    setText(this.pin, server.name);
    setAttribute(this.pin, "title", `${server.url}: highlight it in the charts`);
    setAttribute(this.pin, "aria-pressed", String(isPinned));
    this.drawState(server);
    this.drawLoad(server);
    for (const column of COLUMNS) if (column.write) this.drawNumber(column, server);
    setText(this.cells.models, modelsOf(server));
  }

  drawState(server) {
    const [mark, word, className] = STATES[server.status] || ["?", server.status, "warn-text"];
    const age = server.status === "up" ? "" : ` for ${seconds(server.state_age_seconds)}`;
    setText(this.word, `${mark} ${word}${age}`);
    setClass(this.word, `word ${className}`);
    setText(this.why, server.state_reason);
    setText(this.odd, server.outlier === null ? "" : `▲ ${server.outlier}`);
  }

  drawLoad(server) {
    const share = loadShare(server);
    const reached = level(share);
    const width = `${Math.min(100, 100 * share).toFixed(1)}%`;
    if (this.fill.style.width !== width) this.fill.style.width = width;
    setClass(this.fill, reached ? `fill ${reached}-fill` : "fill");
    setText(this.number, `${percent(share)}${LEVEL_MARK[reached]}`);
    setClass(this.number, reached ? `number ${reached}-text` : "number");
    setAttribute(this.cells.load, "title",
      `${server.current_load} of ${server.max_capacity}: own ${server.in_flight}, other clients ${server.foreign_load}`);
  }

  drawNumber(column, server) {
    const value = column.value(server);
    const isKnown = value !== null && value !== undefined;
    const reached = column.level ? level(column.level(server)) : "";
    const extra = column.extra ? column.extra(server) : "";
    const text = isKnown ? column.write(value) + LEVEL_MARK[reached] + extra : UNKNOWN;
    const colour = reached ? `${reached}-text` : column.colour ? column.colour(server) : "";
    const age = column.scraped && server.scrape_age_seconds > OLD_SECONDS ? "old" : "";
    setText(this.cells[column.key], text);
    setClass(this.cells[column.key], [colour, age].filter(Boolean).join(" "));
  }
}

class Table {
  /**
   * @param chosen {order, isUp, find, pinned}: the user's choices; updated in place.
   * @param changed Called when a choice has changed.
   * @param onPoint Called with the URL of the row pointed at, or null.
   */
  constructor(chosen, changed, onPoint) {
    this.chosen = chosen;
    this.changed = changed;
    this.onPoint = onPoint;
    this.rows = new Map();
    this.headings = new Map();
    for (const { key, title, about, className } of COLUMNS) {
      const button = made("button", { type: "button", ...(about ? { title: about } : {}) }, title);
      const head = made("th", { className: className || "", scope: "col" }, button);
      button.addEventListener("click", () => this.sortBy(key === "state" ? "problems" : key));
      this.headings.set(key, head);
      byId("heads").append(head);
    }
    const select = byId("sort");
    select.append(...ORDERS.map(([key, title]) => made("option", { value: key }, title)));
    select.addEventListener("change", () => this.sortBy(select.value, false));
    const find = byId("find");
    find.value = chosen.find;
    find.addEventListener("input", () => {
      chosen.find = find.value;
      changed();
    });
  }

  /** Sort by a column; by the same column again, in reverse order. */
  sortBy(key, mayTurn = true) {
    const { chosen } = this;
    const column = COLUMNS.find((each) => each.key === key);
    chosen.isUp = mayTurn && chosen.order === key ? !chosen.isUp : Boolean(column && column.up);
    chosen.order = key;
    this.changed();
  }

  sorted(servers) {
    const { order, isUp } = this.chosen;
    if (order === "config") return isUp ? [...servers].reverse() : [...servers];
    const column = COLUMNS.find(({ key }) => key === order);
    const by = order === "problems" ? severityOf : column.by || column.value;
    const direction = isUp ? 1 : -1;
    const isUnknown = (value) => value === null || value === undefined;
    // Sorting is stable, so equals keep the order of the configuration; unknown values come last.
    return servers.map((server) => [by(server), server]).sort(([a], [b]) => {
      if (isUnknown(a) || isUnknown(b)) return isUnknown(a) - isUnknown(b);
      if (typeof a === "string") return direction * a.localeCompare(b, undefined, { numeric: true });
      return direction * (a - b);
    }).map(([, server]) => server);
  }

  found(servers) {
    const wanted = this.chosen.find.trim().toLowerCase();
    if (!wanted) return servers;
    return servers.filter((server) =>
      `${server.name} ${server.url} ${server.status} ${modelsOf(server)}`.toLowerCase().includes(wanted));
  }

  draw(servers) {
    const shown = this.sorted(this.found(servers));
    const urls = new Set(servers.map(({ url }) => url));
    for (const url of this.rows.keys()) if (!urls.has(url)) this.rows.delete(url);
    const elements = shown.map((server) => {
      if (!this.rows.has(server.url)) {
        this.rows.set(server.url, new Row(this.onPoint, (url) => this.pin(url)));
      }
      const row = this.rows.get(server.url);
      row.draw(server, this.chosen.pinned === server.url);
      return row.element;
    });
    setChildren(byId("rows"), elements);
    this.drawHeadings();
    setText(byId("shown"), shown.length === servers.length ? `${servers.length}` : `${shown.length} of ${servers.length}`);
    const none = byId("none");
    none.hidden = shown.length > 0;
    setText(none, servers.length ? `No server matches “${this.chosen.find}”.` : "No servers are configured.");
  }

  pin(url) {
    this.chosen.pinned = this.chosen.pinned === url ? null : url;
    this.changed();
  }

  drawHeadings() {
    const { order, isUp } = this.chosen;
    for (const [key, head] of this.headings) {
      if (key === order || (key === "state" && order === "problems")) {
        setAttribute(head, "aria-sort", isUp ? "ascending" : "descending");
      } else head.removeAttribute("aria-sort");
    }
    if (byId("sort").value !== order) byId("sort").value = order;
  }
}
