// Problems in words, the most severe first: the same as the monitor shows above its servers.

const SEVERITY = { down: 6, ejected: 5, asleep: 4, cooling: 2, trial: 1, draining: 1 };
const OUT_OF_SERVICE = { down: ["alarm", "✕"], ejected: ["alarm", "⊘"], asleep: ["warning", "☾"] };
const OUTLIER_SEVERITY = 3;
const MOST_NAMES = 8;
const MOST_NOTICES = 8;
const SETTLING_SECONDS = 5; // After this, a server without a successful scrape has a problem.

/** Return the severity of a server's problem; 0 for none. */
function severityOf(server) {
  return Math.max(SEVERITY[server.status] || 0, server.outlier === null ? 0 : OUTLIER_SEVERITY);
}

/** Return true for a server that is out of service because something is wrong with it. */
function isAlarming(server) {
  return (OUT_OF_SERVICE[server.status] || [])[0] === "alarm";
}

/**
 * Return notices: {kind, mark, who, text, about}. `about` is the text without what changes each second.
 * @param report The report of /load-stats.
 * @param unrouted Requests per second for which no server was available.
 */
function notices(report, unrouted) {
  const { summary, servers } = report;
  const found = [];
  const add = (kind, mark, who, text, about = text) =>
    found.push({ kind, mark, who, text, about: `${who} ${about}` });
  if (unrouted > 0) {
    add("alarm", "✕", "No usable server:", `${count(unrouted)} requests/s rejected`, "requests rejected");
  }
  const panic = summary.panic_models;
  if (panic.length) {
    add("alarm", "✕", "Panic mode:", `requests for ${modelNames(panic)} go to ejected servers, no other is usable`);
  }
  for (const [state, [kind, mark]] of Object.entries(OUT_OF_SERVICE)) {
    for (const [reason, out] of byReason(servers, state)) {
      const [first] = out;
      if (out.length > 1) add(kind, mark, `${out.length} servers ${state}:`, `${reason}: ${namesOf(out)}`);
      else {
        add(kind, mark, first.name, `has been ${state} for ${seconds(first.state_age_seconds)}: ${reason}`,
          `is ${state}: ${reason}`);
      }
    }
  }
  const silent = servers.filter((each) => each.scrape_age_seconds === null &&
    !isAlarming(each) && each.state_age_seconds > SETTLING_SECONDS);
  if (silent.length) {
    add("warning", "▲", plural(silent.length, "server"), `without a successful scrape: ${namesOf(silent)}`);
  }
  for (const server of servers) {
    if (server.outlier !== null) {
      add("warning", "▲", server.name, server.outlier, "is an outlier");
    }
  }
  if (summary.config.error !== null) {
    add("warning", "▲", "Configuration not applied:", summary.config.error);
  }
  if (summary.workers.some((worker) => worker.draining)) {
    add("warning", "▲", "fastroute", "is draining: it accepts no new clients");
  }
  if (!found.length) found.push(noProblems(summary));
  if (found.length > MOST_NOTICES) {
    const left = found.splice(MOST_NOTICES - 1).length;
    add("warning", "▲", `And ${left} more:`, "servers with problems come first in the table");
  }
  return found;
}

function namesOf(servers) {
  const names = servers.slice(0, MOST_NAMES).map(({ name }) => name).join(", ");
  return servers.length > MOST_NAMES ? `${names} and ${servers.length - MOST_NAMES} more` : names;
}

function modelNames(names) {
  const shown = names.slice(0, MOST_NAMES).map((name) => (name === "*" ? "any model" : name)).join(", ");
  return names.length > MOST_NAMES ? `${shown} and ${names.length - MOST_NAMES} more` : shown;
}

function noProblems({ healthy_servers: usable, total_servers: total }) {
  if (!total) {
    const text = "none are configured";
    return { kind: "warning", mark: "▲", who: "No servers:", text, about: text };
  }
  const text = total === 1 ? "the server is usable" : `${usable} of ${total} servers are usable, no outliers`;
  return { kind: "calm", mark: "✓", who: "No problems:", text, about: "No problems" };
}

function byReason(servers, state) {
  const found = new Map();
  for (const server of servers) {
    if (server.status !== state) continue;
    const reason = server.state_reason || "reason not known yet";
    found.set(reason, [...(found.get(reason) || []), server]);
  }
  return found;
}

class Notices {
  constructor(list, announced) {
    this.list = list;
    this.announced = announced;
  }

  draw(found) {
    while (this.list.children.length > found.length) this.list.lastChild.remove();
    while (this.list.children.length < found.length) {
      this.list.append(made("li", {}, made("span", { className: "mark", "aria-hidden": "true" }),
        made("span", {}, made("b"), made("span"))));
    }
    found.forEach(({ kind, mark, who, text }, place) => {
      const item = this.list.children[place];
      setClass(item, `notice ${kind}`);
      setText(item.firstChild, mark);
      setText(item.lastChild.firstChild, who);
      setText(item.lastChild.lastChild, ` ${text}`);
    });
    // Announced by screen readers only when it changes, not each second.
    setText(this.announced, found.map(({ about }) => about).join(". "));
  }
}
