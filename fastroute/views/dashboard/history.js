// What was told in the last 15 minutes, in steps of 5 s. It outlives a reload of the page, and
// nothing else: it is kept in the tab's sessionStorage.

const STEP = 5000; // milliseconds
const STEPS = 180;
const CLOCK_STEPS = 24;
const STORED = "fastroute.history";
const ALL = ""; // The name of the series of all servers together; no URL is empty.

/** What is kept of a server, or of all together, and where it stands in a report. */
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
  /** @param storage Like sessionStorage; may refuse to keep anything. */
  constructor(storage) {
    this.storage = storage;
    this.last = 0; // The step of the last report: milliseconds since 1970 / STEP.
    this.told = 0; // Reports in this step.
    this.series = new Map(); // By URL: {load: [...], p99: [...], ...}, the oldest step first.
    this.restore();
  }

  /** The steps that there are values of, the oldest first. */
  get first() {
    return this.last - STEPS + 1;
  }

  /** Take a report of a moment (milliseconds since 1970); returns whether a step began. */
  add(report, moment) {
    const isNewStep = this.moveTo(Math.floor(moment / STEP));
    this.told = isNewStep ? 1 : this.told + 1;
    this.put(ALL, KEPT_OF_ALL, report.summary);
    for (const server of report.servers) this.put(server.url, KEPT, server);
    if (isNewStep) this.save();
    return isNewStep;
  }

  /** Values of one kind of a server, null where there is none. */
  of(url, kind) {
    const kept = this.series.get(url);
    return (kept && kept[kind]) || [];
  }

  urls() {
    return [...this.series.keys()].filter((url) => url !== ALL);
  }

  moveTo(step) {
    const passed = step - this.last;
    // Clocks are set back a little now and then.
    if (passed <= 0 && passed > -CLOCK_STEPS) return false;
    if (passed < 0 || passed >= STEPS) {
      // What is kept is of another time.
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

  /** What is to stand for a step: of the load the mean, of the others, means themselves, the last. */
  rounded(values, kind, number) {
    const before = values[STEPS - 1];
    const isFirst = kind !== "load" || before === null || this.told === 1;
    const value = isFirst ? number : before + (number - before) / this.told;
    return Number(value.toPrecision(4));
  }

  /** Servers that were removed are forgotten when their last value is too old to be shown. */
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
      // There is no room, or storing is switched off: then a reload begins anew.
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
      // Nothing is stored, or something else.
    }
  }
}
