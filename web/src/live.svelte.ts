// One stream of server-sent events; closed while nobody looks.

export type State = "idle" | "connecting" | "live" | "trouble" | "paused";

/** The state that the header shows: that of the page's main stream. */
class Status {
  state = $state<State>("idle");
}

export const status = new Status();

export class Live<T> {
  content = $state.raw<T | null>(null);
  state = $state<State>("idle");
  trouble = $state("");
  private source: EventSource | null = null;
  private address = "";

  /**
   * @param event Name of the events that carry content.
   * @param main Whether the header shows the state of this stream.
   */
  constructor(
    private readonly event: string = "rows",
    private readonly main = true,
    private readonly each: ((content: T) => void) | null = null,
  ) {}

  /** Follows an address until `stop` or another one; the old content goes unless `keep`. */
  follow(path: string, parameters: Record<string, string>, keep = false): void {
    this.address = `${path}?${new URLSearchParams(parameters)}`;
    if (!keep) this.content = null;
    this.open();
  }

  stop(): void {
    this.source?.close();
    this.source = null;
    this.set("idle");
  }

  /** Pauses in a hidden tab. */
  visible(shown: boolean): void {
    if (!this.address) return;
    if (!shown && this.source) {
      this.stop();
      this.set("paused");
    } else if (shown && this.state === "paused") {
      this.open();
    }
  }

  private set(state: State): void {
    this.state = state;
    if (this.main) status.state = state;
  }

  private open(): void {
    this.source?.close();
    this.set("connecting");
    const source = new EventSource(this.address);
    source.onopen = () => {
      if (this.state === "connecting" && this.event !== "rows") this.set("live");
    };
    source.addEventListener(this.event, (event) => {
      const content = JSON.parse(event.data) as T;
      if (this.each) this.each(content);
      else this.content = content;
      this.trouble = "";
      this.set("live");
    });
    source.addEventListener("trouble", (event) => {
      const told = JSON.parse(event.data) as { error: string; hint?: string };
      this.trouble = [told.error, told.hint].filter(Boolean).join(" – ");
      this.set("trouble");
    });
    source.onerror = () => {
      if (this.state !== "trouble" || !this.trouble) {
        this.trouble = "no connection to the dashboard's server; trying again";
      }
      this.set("trouble");
      // An answer that is no stream ends the source: another try could not help.
      if (source.readyState === EventSource.CLOSED) this.source = null;
    };
    this.source = source;
  }
}
