import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// Relative addresses only: the page works below any path, by its <base>.
export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: {
    outDir: "../linkerd/viz/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8084" } },
});
