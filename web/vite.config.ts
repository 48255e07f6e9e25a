import { gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

/** Bytes of the whole page, each file compressed as the server sends it. */
const PAGE_BYTES_MAX = 120_000;

/** Ends the build of a page that has grown too large. */
function small(): Plugin {
  return {
    name: "small",
    generateBundle(_, bundle) {
      let bytes = 0;
      for (const file of Object.values(bundle)) {
        bytes += gzipSync(file.type === "chunk" ? file.code : file.source).length;
      }
      if (bytes > PAGE_BYTES_MAX) this.error(`the page has ${bytes} bytes, more than ${PAGE_BYTES_MAX}`);
    },
  };
}

// Relative addresses only: the page works below any path, by its <base>.
export default defineConfig({
  base: "./",
  plugins: [svelte(), small()],
  build: {
    outDir: "../linkerd/viz/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8084" } },
});
