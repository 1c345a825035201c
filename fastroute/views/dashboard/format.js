// Short forms of numbers and times, the same as in the monitor (fastroute/wording.py).

const UNKNOWN = "–";
const NBSP = "\u00a0"; // Between number and unit, so that they stay on one line.
const WARN_SHARE = 0.7;
const ALARM_SHARE = 0.9;
const SIZES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Round as Python does: of two values that are equally near, toFixed takes the greater, Python the even one. */
function fixed(number, digits) {
  const text = number.toFixed(digits);
  // A binary fraction is exactly in the middle only if this is odd. The calculation is exact.
  const isBetween = (number * 2 ** (digits + 1)) % 2 === 1;
  return isBetween && text.slice(-1) % 2 === 1 ? (number - 0.5 / 10 ** digits).toFixed(digits) : text;
}

function count(number) {
  if (number === null || number === undefined) return UNKNOWN;
  for (const [size, letter] of SIZES) {
    // 999.5 rounds to 1000, which is 1.0k.
    if (number >= size * 0.9995) {
      const scaled = number / size;
      return (scaled < 9.95 ? fixed(scaled, 1) : fixed(scaled, 0)) + letter;
    }
  }
  return Number.isInteger(number) || number >= 9.95 ? fixed(number, 0) : fixed(number, 1);
}

/** Write a share (1 is 100 %). */
function percent(share) {
  return share === null || share === undefined ? UNKNOWN : `${fixed(100 * share, 0)}${NBSP}%`;
}

function seconds(duration) {
  if (duration === null || duration === undefined) return UNKNOWN;
  if (duration < 0.9995) {
    const milliseconds = duration * 1000;
    return `${milliseconds < 9.95 ? fixed(milliseconds, 1) : fixed(milliseconds, 0)}${NBSP}ms`;
  }
  if (duration < 9.95) return `${fixed(duration, 1)}${NBSP}s`;
  if (duration < 120) return `${fixed(duration, 0)}${NBSP}s`;
  if (duration < 120 * 60) return `${fixed(duration / 60, 0)}${NBSP}min`;
  if (duration < 48 * 3600) return `${fixed(duration / 3600, 0)}${NBSP}h`;
  return `${fixed(duration / 86400, 0)}${NBSP}d`;
}

/** Write a time (milliseconds since 1970) as local time of day. */
function timeOfDay(moment) {
  const at = new Date(moment);
  return [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** Return "" below 70 %, "warn" from 70 %, "bad" from 90 %. */
function level(share) {
  if (share === null || share === undefined || share < WARN_SHARE) return "";
  return share < ALARM_SHARE ? "warn" : "bad";
}

/** Marks with the same meaning as the colours, for users who cannot see them. */
const LEVEL_MARK = { "": "", warn: `${NBSP}!`, bad: `${NBSP}!!` };

function plural(number, noun) {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}
