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
  /** Open connections. */
  tcp: number | null;
  /** Bytes per second. */
  read: number | null;
  write: number | null;
  trend: Trend | null;
}

/** Requests per second over the last five minutes, oldest first. */
export interface Trend {
  rps: number[];
  failed?: number[];
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
  /** The mesh's own: scrapes, statistics. */
  mesh: boolean;
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

export function edgeKeyOf(edge: Edge): string {
  return `${nodeKey(edge.src)} ${nodeKey(edge.dst)}`;
}

export type Column = "name" | "meshed" | "success" | "rps" | "p50" | "p95" | "p99" | "tcp" | "read" | "write";

export interface Order {
  column: Column;
  descending: boolean;
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
  trend: Trend | null;
}

/** Sums of all rows; the success rate is weighted by requests. */
export function summary(rows: Row[]): Summary {
  const total: Summary = { meshed: 0, pods: 0, rps: 0, success: null, p99: null, trend: null };
  let good = 0;
  for (const row of rows) {
    total.meshed += row.meshed;
    total.pods += row.pods;
    if (row.rps !== null && row.success !== null) {
      total.rps += row.rps;
      good += row.rps * row.success;
    }
    if (row.p99 !== null) total.p99 = Math.max(total.p99 ?? 0, row.p99);
    if (row.trend) total.trend = added(total.trend, row.trend);
  }
  if (total.rps > 0) total.success = good / total.rps;
  return total;
}

function added(sum: Trend | null, one: Trend): Trend {
  const plus = (a: number[] | undefined, b: number[] | undefined) =>
    a && b ? a.map((value, at) => value + (b[at] ?? 0)) : (a ?? b);
  const failed = plus(sum?.failed, one.failed);
  return { rps: plus(sum?.rps, one.rps) ?? [], ...(failed ? { failed } : {}) };
}

/** Returns the path of a line through the values, in a box whose top stands for `top`. */
export function line(values: number[], top: number, width: number, height: number): string {
  const step = width / Math.max(values.length - 1, 1);
  return values
    .map((value, at) => {
      const y = height - 1 - (value / Math.max(top, 0.001)) * (height - 2);
      return `${at === 0 ? "M" : "L"}${(at * step).toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
