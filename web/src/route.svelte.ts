// Where the user is; the address bar is the only copy of it.

import type { View } from "./data";

export const WINDOWS = ["30s", "1m", "5m", "10m", "1h"];

export const KINDS: Record<string, string> = {
  deployments: "deployment",
  statefulsets: "statefulset",
  daemonsets: "daemonset",
  jobs: "job",
  pods: "pod",
  services: "service",
};

const base = new URL(document.baseURI).pathname;

/** Returns the view that a path below the page's base shows. */
export function viewAt(path: string, query: string): View {
  const parts = path.slice(base.length).split("/").filter(Boolean).map(decodeURIComponent);
  const asked = new URLSearchParams(query).get("window") ?? "1m";
  const window = WINDOWS.includes(asked) ? asked : "1m";
  if (parts[0] === "namespaces" && parts[1]) {
    const namespace = parts[1] === "_all" ? "" : parts[1];
    return { kind: KINDS[parts[2] ?? ""] ?? "deployment", namespace, window };
  }
  return { kind: "namespace", namespace: "", window };
}

/** Returns the address of a view, relative to the page's base. */
export function addressOf(view: View): string {
  const query = view.window === "1m" ? "" : `?window=${view.window}`;
  if (view.kind === "namespace") return `${base}namespaces${query}`;
  const plural = Object.keys(KINDS).find((key) => KINDS[key] === view.kind) ?? "deployments";
  const namespace = encodeURIComponent(view.namespace || "_all");
  return `${base}namespaces/${namespace}/${plural}${query}`;
}

class Route {
  view = $state(viewAt(location.pathname, location.search));

  constructor() {
    addEventListener("popstate", () => {
      this.view = viewAt(location.pathname, location.search);
    });
  }

  go(view: View): void {
    history.pushState(null, "", addressOf(view));
    this.view = view;
  }
}

export const route = new Route();
