import { accessSync, constants } from "node:fs";
import { defineConfig } from "@playwright/test";

// browser is that of the system, because Playwright's own is not in the npm registry.
function browser(): string {
  for (const at of [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]) {
    try {
      if (at) accessSync(at, constants.X_OK);
      if (at) return at;
    } catch {
      // not there
    }
  }
  throw new Error("no Chromium is installed; install it (Debian: apt-get install chromium), or set CHROMIUM");
}

export default defineConfig({
  testDir: "e2e",
  outputDir: "e2e/out",
  workers: 1, // the servers need the processor
  timeout: 180_000,
  expect: { timeout: 30_000 },
  reporter: [["list"]],
  use: {
    launchOptions: {
      executablePath: browser(),
      // A container has no user namespaces for the sandbox; a microphone that plays a tone.
      args: ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"],
    },
    permissions: ["microphone", "clipboard-read", "clipboard-write"],
    trace: "off",
  },
});
