// Values of the last 15 minutes, in steps of 5 s. Kept in the tab's sessionStorage, so that they
// survive a reload of the page, but not the end of the tab.

const STEP = 5000; // milliseconds
const STEPS = 180;
const CLOCK_STEPS = 24;
const STORED = "fastroute.history";
const ALL = ""; // Key of the series of all servers; no URL is empty.

/** Values that are kept of a server, and of all servers, with their place in a report. */
const KEPT = {
  load: (server) => server.utilization_percent / 100,
  p99: (server) => server.recent.first_byte_p99_seconds,
  tokens: (server) => server.recent.tokens_per_second,
  errors: (server) => server.recent.errors_per_second,
};
const KEPT_OF_ALL = {
  load: (summary) => summary.overall_utilization_percent / 100,
  p99: (summary) => summary.recent.first_byte_p99_seconds,
  p50: (summary) => summary.recent.first_byte_p50_seconds,
  tokens: (summary) => summary.recent.tokens_per_second,
  errors: (summary) => summary.recent.errors_per_second,
};

class History {
  /** @param storage Like sessionStorage; may refuse to store anything. */
  constructor(storage) {
    this.storage = storage;
    this.last = 0; // The step of the last report: milliseconds since 1970 / STEP.
    this.reports = 0; // Number of reports in this step.
    this.series = new Map(); // By URL: {load: [...], p99: [...], ...}, the oldest step first.
    this.restore();
  }

  /** Return the oldest step. */
  get first() {
    return this.last - STEPS + 1;
  }

  /** Add a report of a moment (milliseconds since 1970); returns true if it starts a new step. */
  add(report, moment) {
    const isNewStep = this.moveTo(Math.floor(moment / STEP));
    this.reports = isNewStep ? 1 : this.reports + 1;
    this.put(ALL, KEPT_OF_ALL, report.summary);
    for (const server of report.servers) this.put(server.url, KEPT, server);
    if (isNewStep) this.save();
    return isNewStep;
  }

  /** Return a server's values of one kind, null for steps without one. */
  of(url, kind) {
    const kept = this.series.get(url);
    return (kept && kept[kind]) || [];
  }

  urls() {
    return [...this.series.keys()].filter((url) => url !== ALL);
  }

  moveTo(step) {
    const passed = step - this.last;
    // Clocks are occasionally set back a little.
    if (passed <= 0 && passed > -CLOCK_STEPS) return false;
    if (passed < 0 || passed >= STEPS) {
      // The kept values are too old, or from the future.
      this.series.clear();
    } else {
      for (const kinds of this.series.values()) {
        for (const values of Object.values(kinds)) {
          for (let missing = 0; missing < passed; missing += 1) values.push(null);
          values.splice(0, passed);
        }
      }
    }
    this.last = step;
    this.forgetGone();
    return true;
  }

  put(url, kept, from) {
    if (!this.series.has(url)) {
      const empty = Object.keys(kept).map((kind) => [kind, Array(STEPS).fill(null)]);
      this.series.set(url, Object.fromEntries(empty));
    }
    const kinds = this.series.get(url);
    for (const [kind, value] of Object.entries(kept)) {
      const number = value(from);
      kinds[kind][STEPS - 1] = number === null ? null : this.rounded(kinds[kind], kind, number);
    }
  }

  /** Return a step's value: the mean of the loads; the last of the others, which are means already. */
  rounded(values, kind, number) {
    const before = values[STEPS - 1];
    const isFirst = kind !== "load" || before === null || this.reports === 1;
    const value = isFirst ? number : before + (number - before) / this.reports;
    return Number(value.toPrecision(4));
  }

  /** Drop removed servers whose last value is too old to be shown. */
  forgetGone() {
    for (const [url, kinds] of this.series) {
      if (kinds.load.every((value) => value === null)) this.series.delete(url);
    }
  }

  save() {
    const kept = JSON.stringify({ last: this.last, series: [...this.series] });
    try {
      this.storage.setItem(STORED, kept);
    } catch {
      // Storage is full or disabled: the history is then lost on reload.
    }
  }

  restore() {
    try {
      const { last, series } = JSON.parse(this.storage.getItem(STORED));
      const isWhole = series.every(([url, kinds]) =>
        Object.keys(url === ALL ? KEPT_OF_ALL : KEPT).every(
          (kind) => kinds[kind].length === STEPS,
        ),
      );
      if (isWhole) {
        this.last = last;
        this.series = new Map(series);
      }
    } catch {
      // Nothing is stored, or in another format.
    }
  }
}
