// Tap events as the server sends them, joined to one stream per request. Pure.

export interface End {
  ip: string;
  port: number;
  metadata: Record<string, string>;
}

interface Span {
  seconds?: number;
  nanos?: number;
}

interface Header {
  name: string;
  valueStr?: string;
  valueBin?: string;
}

interface Id {
  base: number;
  stream: number;
}

export interface TapEvent {
  source: End;
  destination: End;
  proxyDirection: string;
  routeMeta: Record<string, string>;
  requestInitEvent?: { id: Id; method: string; scheme: string; authority: string; path: string; headers: Header[] };
  responseInitEvent?: { id: Id; sinceRequestInit: Span; httpStatus: number; headers: Header[] };
  responseEndEvent?: {
    id: Id;
    sinceRequestInit: Span;
    sinceResponseInit: Span;
    responseBytes: number;
    trailers: Header[];
    grpcStatusCode?: number;
    resetErrorCode?: number;
  };
}

export interface Stream {
  key: string;
  /** What the newest event says of both ends. */
  event: TapEvent;
  request?: TapEvent["requestInitEvent"];
  response?: TapEvent["responseInitEvent"];
  end?: TapEvent["responseEndEvent"];
}

export const STREAMS_MAX = 100;

/** The name of a pod's workload: the pod's without what a replica set and the pod add. */
export function workloadOf(pod: string): string {
  return /^(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}$/.exec(pod)?.[1] ?? pod;
}

const GRPC =
  "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated".split(
    " ",
  );

export function grpcName(code: number | undefined): string {
  return code === undefined ? "" : (GRPC[code] ?? `Code(${code})`);
}

export function milliseconds(span: Span | undefined): number | null {
  return span ? (span.seconds ?? 0) * 1000 + (span.nanos ?? 0) / 1e6 : null;
}

/** Returns the streams, newest first, with one more event. */
export function joined(streams: Stream[], event: TapEvent): Stream[] {
  const part = event.requestInitEvent ?? event.responseInitEvent ?? event.responseEndEvent;
  if (!part) return streams;
  const { source, destination } = event;
  const key = [event.proxyDirection, source.ip, source.port, destination.ip, destination.port, part.id.base, part.id.stream].join(" ");
  const known = streams.find((stream) => stream.key === key);
  const next: Stream = { ...known, key, event };
  if (event.requestInitEvent) next.request = event.requestInitEvent;
  if (event.responseInitEvent) next.response = event.responseInitEvent;
  if (event.responseEndEvent) next.end = event.responseEndEvent;
  if (known) return streams.map((stream) => (stream === known ? next : stream));
  return event.requestInitEvent ? [next, ...streams].slice(0, STREAMS_MAX) : streams;
}

/** Returns the command line that does what a page's query does. */
export function command(verb: string, query: Record<string, string>): string {
  const flags: Record<string, string> = {
    namespace: "--namespace",
    toResource: "--to",
    toNamespace: "--to-namespace",
    maxRps: "--max-rps",
    scheme: "--scheme",
    method: "--method",
    authority: "--authority",
    path: "--path",
  };
  const words = ["linkerd", "viz", verb, query.resource ?? ""];
  for (const [field, flag] of Object.entries(flags)) {
    const value = query[field];
    if (value) words.push(flag, /^[\w./:-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);
  }
  return words.filter(Boolean).join(" ");
}
