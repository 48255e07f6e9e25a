// Where the user is; the address bar is the only copy of it.

export const WINDOWS = ["30s", "1m", "5m", "10m", "1h"];
export const RANGES = ["5m", "15m", "1h", "3h", "6h"];

/** Plural in addresses → kind. */
export const KINDS: Record<string, string> = {
  deployments: "deployment",
  statefulsets: "statefulset",
  daemonsets: "daemonset",
  jobs: "job",
  cronjobs: "cronjob",
  pods: "pod",
  services: "service",
  replicasets: "replicaset",
  replicationcontrollers: "replicationcontroller",
};

export const PAGES = [
  "graph",
  "tap",
  "top",
  "routes",
  "controlplane",
  "gateways",
  "extensions",
  "grafana",
] as const;

export const PAGE_TITLES: Partial<Record<Page, string>> = {
  graph: "Topology",
  tap: "Tap",
  top: "Top",
  routes: "Routes",
  controlplane: "Control plane",
  gateways: "Gateways",
  extensions: "Extensions",
  grafana: "Grafana",
};

export type Page = "table" | "namespace" | "detail" | (typeof PAGES)[number];

export interface Place {
  page: Page;
  kind: string;
  /** Empty for all. */
  namespace: string;
  name: string;
  window: string;
  /** Everything else in the query. */
  query: Record<string, string>;
}

/** The time range of a page's plots. */
export function rangeOf(place: Place): string {
  const asked = place.query.range ?? "";
  return RANGES.includes(asked) ? asked : "15m";
}

const base = new URL(document.baseURI).pathname;
const HOME: Place = {
  page: "table",
  kind: "namespace",
  namespace: "",
  name: "",
  window: "1m",
  query: {},
};

export function pluralOf(kind: string): string {
  return Object.keys(KINDS).find((plural) => KINDS[plural] === kind) ?? `${kind}s`;
}

const TITLES: Record<string, string> = {
  namespace: "Namespaces",
  cronjob: "Cron jobs",
  daemonset: "Daemon sets",
  replicaset: "Replica sets",
  replicationcontroller: "Replication controllers",
  statefulset: "Stateful sets",
};

/** How headings call the resources of a kind. */
export function titleOf(kind: string): string {
  const plural = pluralOf(kind);
  return TITLES[kind] ?? plural.charAt(0).toUpperCase() + plural.slice(1);
}

/** Returns the place that a path below the page's base names; old addresses of Linkerd too. */
export function placeAt(path: string, search: string): Place {
  const parts = path.slice(base.length).split("/").filter(Boolean).map(decoded);
  const query = Object.fromEntries(new URLSearchParams(search));
  const asked = query.window ?? "1m";
  const window = WINDOWS.includes(asked) ? asked : "1m";
  delete query.window;
  const here = { ...HOME, window, query };
  const [first = "", second = "", third = "", fourth = ""] = parts;
  if (first === "namespaces" && second) {
    const namespace = second === "_all" ? "" : second;
    const kind = KINDS[third];
    if (!third || !kind) return { ...here, page: "namespace", kind: "namespace", namespace };
    if (!fourth) return { ...here, kind, namespace };
    return { ...here, page: "detail", kind, namespace, name: fourth };
  }
  const kind = KINDS[first];
  if (kind) return { ...here, kind };
  const page = PAGES.find((one) => one === first);
  if (!page) return here;
  if (page === "grafana") return { ...here, page, name: second === "d" ? third : "" };
  return { ...here, page, namespace: query.namespace ?? "" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Returns the address of a place, below the page's base. */
export function addressOf(place: Place): string {
  const query = new URLSearchParams(place.query);
  if (place.window !== "1m") query.set("window", place.window);
  let path: string = place.page;
  if (place.page === "table" && place.kind === "namespace") path = "namespaces";
  else if (place.page === "table" || place.page === "namespace" || place.page === "detail") {
    path = `namespaces/${encodeURIComponent(place.namespace || "_all")}`;
    if (place.page !== "namespace") path += `/${pluralOf(place.kind)}`;
    if (place.page === "detail") path += `/${encodeURIComponent(place.name)}`;
  } else if (place.page === "grafana" && place.name) {
    path = `grafana/d/${encodeURIComponent(place.name)}`;
  }
  const text = query.toString();
  return base + path + (text ? `?${text}` : "");
}

class Route {
  place = $state.raw(placeAt(location.pathname, location.search));

  constructor() {
    addEventListener("popstate", () => {
      this.place = placeAt(location.pathname, location.search);
    });
  }

  /** Returns a place: what is given, the rest as at home; the window stays. */
  to(change: Partial<Place>): Place {
    return { ...HOME, window: this.place.window, ...change };
  }

  go(place: Place): void {
    history.pushState(null, "", addressOf(place));
    this.place = place;
    scrollTo(0, 0);
  }

  /** Changes the query of this page without a new entry in the history. */
  amend(query: Record<string, string>): void {
    const place = { ...this.place, query };
    history.replaceState(null, "", addressOf(place));
    this.place = place;
  }
}

export const route = new Route();

/** For links: follows them within the page, unless the browser should. */
export function follow(place: Place): (event: MouseEvent) => void {
  return (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    route.go(place);
  };
}
