// How numbers are written. Pure.

export const NONE = "–";

/** A share as a percentage with two digits, as `linkerd viz stat` prints it. */
export function percent(share: number | null): string {
  return share === null ? NONE : `${(share * 100).toFixed(2)}%`;
}

/** Requests per second. */
export function rate(rps: number | null): string {
  if (rps === null) return NONE;
  return rps >= 1000 ? `${(rps / 1000).toFixed(1)}k` : rps.toFixed(1);
}

/** Milliseconds, as seconds above 10 s. */
export function latency(ms: number | null): string {
  if (ms === null) return NONE;
  return ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${ms} ms`;
}

export function count(value: number | null): string {
  return value === null ? NONE : value.toLocaleString("en");
}

/** Bytes per second. */
export function bytes(value: number | null): string {
  if (value === null) return NONE;
  const units = ["B/s", "KiB/s", "MiB/s", "GiB/s"];
  let [scaled, at] = [value, 0];
  while (scaled >= 1024 && at < units.length - 1) [scaled, at] = [scaled / 1024, at + 1];
  return `${scaled.toFixed(scaled < 10 && at ? 1 : 0)} ${units[at]}`;
}

export type Health = "good" | "warn" | "bad" | "none";

/** Linkerd's thresholds of success rates. */
export function health(success: number | null): Health {
  if (success === null) return "none";
  return success < 0.9 ? "bad" : success < 0.95 ? "warn" : "good";
}

/** Milliseconds with the digits that matter, for single requests. */
export function precise(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Seconds as the two largest units. */
export function age(seconds: number | null): string {
  if (seconds === null) return NONE;
  const units: [string, number][] = [
    ["d", 86400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ];
  const at = units.findIndex(([, size]) => seconds >= size);
  if (at < 0) return "0s";
  let left = seconds;
  return units
    .slice(at, at + 2)
    .map(([unit, size]) => {
      const whole = Math.floor(left / size);
      left -= whole * size;
      return whole ? `${whole}${unit}` : "";
    })
    .join(" ")
    .trim();
}

export const SHAPES: Record<Health, string> = { good: "●", warn: "▲", bad: "■", none: "" };
export const WORDS: Record<Health, string> = {
  good: "good",
  warn: "warning",
  bad: "poor",
  none: "no traffic",
};
