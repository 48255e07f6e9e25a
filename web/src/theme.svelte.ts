// Light, dark, or as the system says.

export type Theme = "auto" | "light" | "dark";

const KEY = "linkerd-viz-theme";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

class Choice {
  theme = $state<Theme>("auto");

  constructor() {
    const stored = localStorage.getItem(KEY);
    if (stored === "light" || stored === "dark") this.theme = stored;
    this.apply();
  }

  toggle(): void {
    this.theme = NEXT[this.theme];
    if (this.theme === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, this.theme);
    this.apply();
  }

  private apply(): void {
    if (this.theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }
}

export const choice = new Choice();
