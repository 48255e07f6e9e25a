// What the server streams, and what the page makes of it.

export interface Row {
  namespace: string;
  name: string;
  status: string;
  meshed: number;
  pods: number;
  failed: number;
  errors: string[];
  success: number | null;
  rps: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  tcp: number | null;
}

export interface Content {
  rows: Row[];
}

/** One end of an edge. */
export interface Node {
  kind: string;
  namespace: string;
  name: string;
}

/** Traffic from one workload to another. */
export interface Edge {
  src: Node;
  dst: Node;
  rps: number;
  success: number | null;
  p99: number | null;
  tcp: number;
  tls: boolean;
}

export interface Pod extends Partial<Omit<Row, "meshed">> {
  meshed: boolean;
  namespace: string;
  name: string;
  ip: string;
  status: string;
  ready: boolean;
  scraped: boolean;
  version: string;
  uptime: number | null;
  owner: string;
}

export interface Detail {
  kind: string;
  namespace: string;
  name: string;
  row: Row;
  pods: Pod[];
  inbound: Edge[];
  outbound: Edge[];
}

export interface Gateway {
  cluster: string;
  namespace: string;
  name: string;
  alive: boolean;
  services: number;
  p50: number;
  p95: number;
  p99: number;
}

export interface Mesh {
  namespace: string;
  pods: Pod[];
  namespaces: Row[];
  gateways: Gateway[];
}

/** A kind of request in the live table; times in milliseconds. */
export interface Call {
  source: string;
  destination: string;
  method: string;
  path: string;
  count: number;
  success: number;
  best: number;
  worst: number;
  last: number;
}

export function nodeKey(node: Node): string {
  return `${node.kind}/${node.namespace}/${node.name}`;
}

export type Column = "name" | "meshed" | "success" | "rps" | "p50" | "p95" | "p99" | "tcp";

export interface Order {
  column: Column;
  descending: boolean;
}

/** Points of a row's request rate that the page remembers. */
export const HISTORY = 60;

export type Histories = Map<string, number[]>;

/** Returns the histories with one more point; rows that are gone are forgotten. */
export function remember(histories: Histories, rows: Row[]): Histories {
  const next: Histories = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    next.set(key, [...(histories.get(key) ?? []), row.rps ?? 0].slice(-HISTORY));
  }
  return next;
}

export function keyOf(row: Row): string {
  return `${row.namespace}/${row.name}`;
}

/** Returns the rows that match the filter, in order; rows without a value come last. */
export function arranged(rows: Row[], filter: string, order: Order, unmeshed: boolean): Row[] {
  const wanted = filter.trim().toLowerCase();
  const shown = rows.filter(
    (row) => keyOf(row).toLowerCase().includes(wanted) && (unmeshed || row.meshed > 0),
  );
  const sign = order.descending ? -1 : 1;
  return shown.sort((one, other) => {
    const a = valueOf(one, order.column);
    const b = valueOf(other, order.column);
    if (a === null || b === null) return a === b ? byName(one, other) : a === null ? 1 : -1;
    const difference = typeof a === "string" ? a.localeCompare(String(b)) : a - Number(b);
    return difference * sign || byName(one, other);
  });
}

function byName(one: Row, other: Row): number {
  return keyOf(one).localeCompare(keyOf(other));
}

function valueOf(row: Row, column: Column): string | number | null {
  if (column === "name") return keyOf(row);
  if (column === "meshed") return row.pods === 0 ? null : row.meshed / row.pods;
  return row[column];
}

export interface Summary {
  meshed: number;
  pods: number;
  rps: number;
  success: number | null;
  p99: number | null;
}

/** Sums of all rows; the success rate is weighted by requests. */
export function summary(rows: Row[]): Summary {
  const total: Summary = { meshed: 0, pods: 0, rps: 0, success: null, p99: null };
  let good = 0;
  for (const row of rows) {
    total.meshed += row.meshed;
    total.pods += row.pods;
    if (row.rps !== null && row.success !== null) {
      total.rps += row.rps;
      good += row.rps * row.success;
    }
    if (row.p99 !== null) total.p99 = Math.max(total.p99 ?? 0, row.p99);
  }
  if (total.rps > 0) total.success = good / total.rps;
  return total;
}

/** Returns the path of a line through the values, in a box of the given size. */
export function spark(values: number[], width: number, height: number): string {
  if (values.length < 2) return "";
  const top = Math.max(...values, 0.001);
  // A short history is not squeezed into a corner.
  const step = width / (Math.max(values.length, 15) - 1);
  const start = width - step * (values.length - 1);
  return values
    .map((value, at) => {
      const x = (start + at * step).toFixed(1);
      const y = (height - 1 - (value / top) * (height - 2)).toFixed(1);
      return `${at === 0 ? "M" : "L"}${x} ${y}`;
    })
    .join("");
}
