// What the server knows before the first request: written into the page.

const data = document.getElementById("main")?.dataset ?? {};

/** Version of the dashboard; empty in development. */
export const version = data.releaseVersion ?? "";
/** Grafana that browsers reach elsewhere; empty for none. */
const elsewhere = data.grafanaExternalUrl ?? "";
/** Whether /grafana is passed on to a Grafana. */
const passed = Boolean(data.grafana);
const prefix = data.grafanaPrefix ?? "";
/** Whether this dashboard may tap. */
export const mayTap = data.tap !== "false";

/** Address of a dashboard in a Grafana that is not ours, null where our viewer shows it. */
export function grafana(uid: string, variables: Record<string, string>): string | null {
  if (!elsewhere && !passed) return null;
  const root = elsewhere ? elsewhere.replace(/\/$/, "") : `${new URL(document.baseURI).pathname}grafana`;
  if (!uid) return `${root}/`;
  const query = new URLSearchParams({ orgId: "1", ...variables });
  return `${root}/d/${encodeURIComponent(prefix + uid)}?${query}`;
}
