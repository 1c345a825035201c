// The running page: polls /load-stats, draws it, and shows when there is no response.

const INTERVAL = 1000; // milliseconds
const HIDDEN_INTERVAL = 5000;
const TIMEOUT = 3000;
const MANY = 20; // Number of servers above which charts are drawn once per step.
const CHOSEN = "fastroute.chosen";

class NoResponse extends Error {}

const TILES = [
  ["up", "Servers usable", ({ summary, servers }) => {
    const isDown = servers.some(isAlarming);
    const few = summary.healthy_servers < summary.total_servers ? "warn" : "";
    return [summary.healthy_servers, ` of ${summary.total_servers}`, isDown ? "bad" : few];
  }],
  ["load", "Load", ({ summary }) => {
    const share = summary.overall_utilization_percent / 100;
    return [percent(share) + LEVEL_MARK[level(share)], ` of ${count(summary.total_capacity)}`, level(share)];
  }],
  ["requests", "Requests/s", ({ summary }) => [count(summary.recent.requests_per_second), "", ""]],
  ["tokens", "Tokens/s", ({ summary }) => [count(summary.recent.tokens_per_second), "", ""]],
  ["first-byte", "First byte p50", ({ summary }) => [
    seconds(summary.recent.first_byte_p50_seconds), `p99 ${seconds(summary.recent.first_byte_p99_seconds)}`, ""]],
  ["errors", "Errors/s", ({ summary }) => [count(summary.recent.errors_per_second), "",
    summary.recent.errors_per_second > 0 ? "bad" : ""]],
  ["in-flight", "In flight", ({ summary }) => [count(summary.total_in_flight), "", ""]],
  ["waiting", "Waiting", ({ servers }) => {
    // The last metrics of a server that is down are no longer valid.
    const alive = servers.filter((server) => server.status !== "down");
    const waiting = sumOfKnown(alive.map((server) => server.detailed_metrics.num_requests_waiting));
    return [count(waiting), "", waiting > 0 ? "warn" : ""];
  }],
];

const CHARTS = [
  { kind: "load", title: "Load", write: percent, least: 1, half: true, names: ["all"] },
  { kind: "p99", title: "First byte, p99 and p50 (dashed)", write: seconds, least: 0.01, second: "p50", names: ["p99", "p50"] },
  { kind: "tokens", title: "Tokens/s", write: count, least: 1, names: ["all"] },
  { kind: "errors", title: "Errors/s", write: count, least: 1, names: ["all"] },
];

function sumOfKnown(numbers) {
  const known = numbers.filter((number) => number !== null);
  return known.length ? known.reduce((sum, number) => sum + number, 0) : null;
}

class Page {
  constructor() {
    this.chosen = this.restored();
    this.history = new History(window.sessionStorage);
    this.report = null;
    this.names = new Map();
    this.pointed = null;
    this.receivedAt = null;
    this.openedAt = Date.now();
    this.timer = null;
    this.polling = false;
    this.notices = new Notices(byId("notices"), byId("announced"));
    this.table = new Table(this.chosen, () => this.choiceChanged(), (url) => this.point(url));
    this.tiles = new Map(TILES.map(([key, title]) => {
      const [value, more] = [made("span"), made("span", { className: "more" })];
      const tile = made("div", { className: "tile", id: `tile-${key}` }, made("dt", {}, title), made("dd", {}, value, more));
      byId("tiles").append(tile);
      return [key, { tile, value, more }];
    }));
    this.charts = CHARTS.map((about) => new Chart(about, this.history, (url) => this.names.get(url) || url));
    for (const chart of this.charts) this.listen(chart);
    byId("charts").append(...this.charts.map(({ element }) => element));
    setText(byId("source"), location.host);
    new ResizeObserver(() => this.fit()).observe(byId("charts"));
    document.addEventListener("visibilitychange", () => {
      if (this.report && !document.hidden) this.drawCharts();
      this.pollNow();
    });
    window.addEventListener("online", () => this.pollNow());
    window.addEventListener("pagehide", () => this.history.save());
  }

  // The user's choices.

  restored() {
    const chosen = { order: "problems", isUp: false, find: "", pinned: null };
    try {
      const kept = JSON.parse(window.sessionStorage.getItem(CHOSEN)) || {};
      if (ORDERS.some(([key]) => key === kept.order)) Object.assign(chosen, kept);
    } catch {
      // Nothing is stored, or storage is disabled.
    }
    return chosen;
  }

  choiceChanged() {
    try {
      window.sessionStorage.setItem(CHOSEN, JSON.stringify(this.chosen));
    } catch {
      // The choice then lasts until the next reload.
    }
    if (this.report) this.table.draw(this.report.servers);
    this.markLines();
  }

  // Polling.

  async poll() {
    this.polling = true;
    const began = performance.now();
    try {
      const report = await this.fetchReport();
      this.receivedAt = Date.now();
      this.show(report);
      this.showConnected();
    } catch (error) {
      this.showDisconnected(error);
    }
    this.polling = false;
    const interval = document.hidden ? HIDDEN_INTERVAL : INTERVAL;
    this.timer = setTimeout(() => this.poll(), Math.max(0, began + interval - performance.now()));
  }

  pollNow() {
    if (this.polling || document.hidden) return;
    clearTimeout(this.timer);
    this.poll();
  }

  async fetchReport() {
    let response;
    try {
      response = await fetch("load-stats", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    } catch (error) {
      if (error.name === "TimeoutError") throw new NoResponse(`no response within ${TIMEOUT / 1000} s`);
      throw new NoResponse("cannot connect");
    }
    if (!response.ok) throw new NoResponse(`/load-stats returned status ${response.status}`);
    try {
      return await response.json();
    } catch {
      throw new NoResponse("/load-stats was truncated, or is not JSON");
    }
  }

  showConnected() {
    byId("lost").hidden = true;
    setClass(byId("contact"), "contact good");
    setText(byId("contact-mark"), "●");
    setText(byId("contact-text"), `live, ${timeOfDay(this.receivedAt)}`);
    setClass(byId("main"), "");
  }

  showDisconnected(error) {
    // Any other error is a bug in this page: it is shown, and logged to the console.
    const why = error instanceof NoResponse ? error.message : `unexpected error: ${error}`;
    if (!(error instanceof NoResponse)) console.error(error);
    const since = timeOfDay(this.receivedAt || this.openedAt);
    const lost = byId("lost");
    setText(lost, `No response from fastroute since ${since}; retrying (${why})`);
    lost.hidden = false;
    setClass(byId("contact"), "contact lost-it");
    setText(byId("contact-mark"), "✕");
    setText(byId("contact-text"), "disconnected");
    if (this.report) setClass(byId("main"), "stale");
    document.title = "✕ disconnected – fastroute";
  }

  // Drawing.

  show(report) {
    const { summary, servers } = report;
    this.names = new Map(servers.map(({ url, name }) => [url, name]));
    const isNewStep = this.history.add(report, this.receivedAt);
    this.report = report;
    setText(byId("version"), summary.version);
    setText(byId("uptime"), `up ${seconds(summary.uptime_seconds)}`);
    for (const [key, , read] of TILES) {
      const { tile, value, more } = this.tiles.get(key);
      const [text, extra, kind] = read(report);
      setText(value, String(text));
      setText(more, extra);
      setClass(tile, kind ? `tile ${kind}` : "tile");
    }
    const found = notices(report, summary.unrouted_per_second);
    this.notices.draw(found);
    document.title = this.title(found, summary);
    this.table.draw(servers);
    // With many servers, charts are redrawn only when a step is added.
    if (!document.hidden && (isNewStep || servers.length <= MANY)) this.drawCharts();
  }

  title([first], summary) {
    if (first.kind === "calm") return `✓ ${plural(summary.total_servers, "server")} – fastroute`;
    return `${first.mark} ${first.who} ${first.about.slice(first.who.length + 1)} – fastroute`;
  }

  drawCharts() {
    for (const chart of this.charts) chart.draw();
    this.markLines();
  }

  /** Highlight the line of the server pointed at or pinned; otherwise those of servers with problems. */
  markLines() {
    const one = this.pointed || this.chosen.pinned;
    const servers = this.report ? this.report.servers : [];
    const marked = new Map(one ? [[one, "picked"]] : []);
    for (const server of one ? [] : servers) {
      if (isAlarming(server)) marked.set(server.url, "bad");
      else if (server.outlier !== null) marked.set(server.url, "warn");
    }
    for (const chart of this.charts) chart.mark(marked);
    const keys = [...marked].slice(0, 4).flatMap(([url, kind]) =>
      [made("span", { className: `key ${kind}` }), this.names.get(url) || url]);
    byId("marked").replaceChildren(...keys);
  }

  point(url) {
    this.pointed = url;
    this.markLines();
  }

  /** Fit the charts to the page's width. They are drawn in pixels, so that texts keep their size. */
  fit() {
    for (const chart of this.charts) {
      chart.width = Math.max(160, chart.svg.clientWidth);
      chart.svg.setAttribute("viewBox", `0 0 ${chart.width} ${HEIGHT}`);
    }
    if (this.report) this.drawCharts();
  }

  /** Make all charts show the same moment. */
  listen(chart) {
    const read = (place) => this.charts.forEach((each) => each.point(place));
    const { svg } = chart;
    svg.addEventListener("pointermove", (event) => read(chart.placeAt(event.offsetX)));
    svg.addEventListener("pointerleave", () => read(null));
    svg.addEventListener("blur", () => read(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12 }[event.key];
      const place = chart.place === null ? STEPS - 1 : chart.place;
      if (step) read(Math.max(0, Math.min(STEPS - 1, place + step)));
      else if (event.key === "Home") read(0);
      else if (event.key === "End" || event.key === "Escape") read(null);
      else return;
      event.preventDefault();
    });
  }
}

new Page().poll();
