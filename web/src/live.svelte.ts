// The stream of one view; closed while nobody looks.

import { remember, type Content, type Histories, type View } from "./data";

export type State = "connecting" | "live" | "trouble" | "paused";

export class Live {
  content = $state.raw<Content | null>(null);
  histories = $state.raw<Histories>(new Map());
  state = $state<State>("connecting");
  trouble = $state("");
  private source: EventSource | null = null;
  private view: View | null = null;

  /** Follows a view until `stop` or another one. */
  follow(view: View): void {
    const same = this.view?.kind === view.kind && this.view.namespace === view.namespace;
    if (!same) {
      this.content = null;
      this.histories = new Map();
    }
    this.view = view;
    this.open();
  }

  stop(): void {
    this.source?.close();
    this.source = null;
  }

  /** Pauses in a hidden tab. */
  visible(shown: boolean): void {
    if (!shown) {
      this.stop();
      this.state = "paused";
    } else if (!this.source && this.view) {
      this.open();
    }
  }

  private open(): void {
    this.stop();
    if (!this.view) return;
    this.state = "connecting";
    const source = new EventSource(`api/stream?${new URLSearchParams({ ...this.view })}`);
    source.addEventListener("rows", (event) => {
      const content = JSON.parse(event.data) as Content;
      this.content = content;
      this.histories = remember(this.histories, content.rows);
      this.state = "live";
    });
    source.addEventListener("trouble", (event) => {
      this.trouble = (JSON.parse(event.data) as { error: string }).error;
      this.state = "trouble";
    });
    source.onerror = () => {
      this.trouble = "no connection to the dashboard's server; trying again";
      this.state = "trouble";
    };
    this.source = source;
  }
}
