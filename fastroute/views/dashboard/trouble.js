// What to look at, in words, the gravest first: the same as the monitor says above its servers.

const TROUBLE = { down: 4, cooling: 2, trial: 1, draining: 1 };
const OUTLIER_TROUBLE = 3;
const MOST_NAMES = 8;
const MOST_NOTICES = 8;
const SETTLING_SECONDS = 5; // Then a server has told its load, or has trouble.

/** How much of a trouble a server is; 0 is none. */
function troubleOf(server) {
  return Math.max(TROUBLE[server.status] || 0, server.outlier === null ? 0 : OUTLIER_TROUBLE);
}

/**
 * Notices: {kind, mark, who, text, about}. `about` says the same without what changes each second.
 * @param report As /load-stats gives it.
 * @param unrouted Requests a second that no server could be found for.
 */
function notices(report, unrouted) {
  const { summary, servers } = report;
  const found = [];
  const add = (kind, mark, who, text, about = text) =>
    found.push({ kind, mark, who, text, about: `${who} ${about}` });
  if (unrouted > 0) {
    add("alarm", "✕", "No server:", `${count(unrouted)} requests/s find no usable server`,
      "requests find no usable server");
  }
  for (const [reason, down] of downByReason(servers)) {
    const [first] = down;
    if (down.length > 1) add("alarm", "✕", `${down.length} servers down:`, `${reason}: ${namesOf(down)}`);
    else {
      add("alarm", "✕", first.name, `has been down for ${seconds(first.state_age_seconds)}: ${reason}`,
        `is down: ${reason}`);
    }
  }
  const silent = servers.filter((each) => each.scrape_age_seconds === null &&
    each.status !== "down" && each.state_age_seconds > SETTLING_SECONDS);
  if (silent.length) {
    add("warning", "▲", plural(silent.length, "server"), `never told the load yet: ${namesOf(silent)}`);
  }
  for (const server of servers) {
    if (server.outlier !== null) {
      add("warning", "▲", server.name, server.outlier, "stands out");
    }
  }
  if (summary.config.error !== null) {
    add("warning", "▲", "Configuration not in force:", summary.config.error);
  }
  if (summary.workers.some((worker) => worker.draining)) {
    add("warning", "▲", "fastroute", "is draining: it takes no new clients");
  }
  if (!found.length) found.push(calm(summary));
  if (found.length > MOST_NOTICES) {
    const left = found.splice(MOST_NOTICES - 1).length;
    add("warning", "▲", `And ${left} more:`, "the servers in trouble come first in the table");
  }
  return found;
}

function namesOf(servers) {
  const names = servers.slice(0, MOST_NAMES).map(({ name }) => name).join(", ");
  return servers.length > MOST_NAMES ? `${names} and ${servers.length - MOST_NAMES} more` : names;
}

function calm({ healthy_servers: usable, total_servers: total }) {
  if (!total) {
    const text = "the configuration names none";
    return { kind: "warning", mark: "▲", who: "No servers:", text, about: text };
  }
  const text = total === 1 ? "the server is usable" : `${usable} of ${total} servers are usable, and none stands out`;
  return { kind: "calm", mark: "✓", who: "All is well:", text, about: "All is well" };
}

function downByReason(servers) {
  const byReason = new Map();
  for (const server of servers) {
    if (server.status !== "down") continue;
    const reason = server.state_reason || "the reason is not known yet";
    byReason.set(reason, [...(byReason.get(reason) || []), server]);
  }
  return byReason;
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
    // Read aloud when it changes, not each second.
    setText(this.announced, found.map(({ about }) => about).join(". "));
  }
}
