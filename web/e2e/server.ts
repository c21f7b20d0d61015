// Servers and pages for the tests.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

const mosel = resolve(import.meta.dirname, "../../bin/mosel");
const models = resolve(import.meta.dirname, "../../models");

export async function freePort(): Promise<number> {
  return new Promise((done) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address() as { port: number };
      s.close(() => done(port));
    });
  });
}

// Server is a mosel server with some of the shipped models.
export class Server {
  private process?: ChildProcess;
  readonly dir = mkdtempSync(join(tmpdir(), "mosel-e2e-"));
  private constructor(
    readonly port: number,
    private readonly flags: string[],
  ) {}

  static async start(names: string[], flags: string[] = []): Promise<Server> {
    const s = new Server(await freePort(), flags);
    for (const name of names) cpSync(join(models, name), join(s.dir, name), { recursive: true });
    await s.run();
    return s;
  }

  get url(): string {
    return `http://localhost:${this.port}`;
  }

  async run(): Promise<void> {
    const flags = ["serve", "--models", this.dir, "--addr", `127.0.0.1:${this.port}`, "--grpc-addr", "", "--metrics-addr", "", "--instances", "1", "--threads", "1", "--watch", "300ms"];
    const started = spawn(mosel, [...flags, ...this.flags], { stdio: ["ignore", "ignore", "pipe"] });
    this.process = started;
    let log = "";
    started.stderr!.on("data", (text) => (log += text));
    for (let tries = 0; tries < 900; tries++) {
      if (started.exitCode !== null) break;
      try {
        if ((await fetch(`${this.url}/v2/health/ready`)).ok) return;
      } catch {
        // not yet
      }
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`the server did not start: ${log}`);
  }

  async stop(): Promise<void> {
    const p = this.process!;
    if (p.exitCode !== null) return;
    await new Promise((done) => {
      p.once("exit", done);
      p.kill("SIGTERM");
    });
  }

  remove(model: string): void {
    rmSync(join(this.dir, model), { recursive: true });
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  // ask sends a request of the text "seven".
  async ask(floor = 0.7): Promise<string> {
    const answer = await fetch(`${this.url}/v2/models/digits/infer`, {
      method: "POST",
      body: JSON.stringify({ id: "e2e", inputs: [{ name: "text", shape: [1], datatype: "BYTES", data: ["seven"] }], parameters: { min_accuracy: floor } }),
    });
    return answer.headers.get("x-mosel-job") ?? "";
  }
}

export type Token = { token: string; entry: string };

export function newToken(name: string, role: string): Token {
  const made = JSON.parse(execFileSync(mosel, ["token", "--name", name, "--role", role, "--json"], { encoding: "utf8" }));
  return { token: made.token, entry: `  - {name: ${made.name}, role: ${made.role}, sha256: ${made.sha256}}` };
}

export function tokensFile(list: Token[]): string {
  const at = join(mkdtempSync(join(tmpdir(), "mosel-e2e-")), "tokens.yaml");
  writeFileSync(at, `tokens:\n${list.map((t) => t.entry).join("\n")}\n`, { mode: 0o600 });
  return at;
}

// test fails if a page has an error of JavaScript, or violates its content security
// policy, or asks another host for something. A test that expects failed requests sets
// expectFailures.
export const test = base.extend<{ expectFailures: boolean; watched: void }>({
  expectFailures: [false, { option: true }],
  watched: [
    async ({ page, expectFailures }, use) => {
      const errors: string[] = [];
      page.on("pageerror", (e) => errors.push(e.message));
      page.on("console", (m) => {
        if (m.type() !== "error" && m.type() !== "warning") return;
        if (expectFailures && m.text().startsWith("Failed to load resource")) return;
        errors.push(m.text());
      });
      page.on("request", (r) => {
        const url = new URL(r.url());
        if (url.hostname !== "localhost" && url.protocol !== "blob:" && url.protocol !== "data:") errors.push(`a request to ${r.url()}`);
      });
      await use();
      expect(errors).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

// looks are the widths and colours in which every page is checked. The rules of axe depend
// on the width or on the colours, not on both, so two of the looks have all cases.
export const looks = [
  { width: 1440, scheme: "light", axe: true },
  { width: 1440, scheme: "dark", axe: false },
  { width: 390, scheme: "light", axe: false },
  { width: 390, scheme: "dark", axe: true },
] as const;

// inspect checks a page in every look: no violations of accessibility rules, no scrolling
// sideways. It leaves a screenshot of each.
export async function inspect(page: Page, name: string): Promise<void> {
  for (const { width, scheme, axe } of looks) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    if (axe) {
      const found = await new AxeBuilder({ page }).setLegacyMode().analyze(); // the pages have no frames
      expect(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(", ")}`)).toEqual([]);
    }
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(wide, `${name} scrolls sideways at ${width}`).toBe(0);
    await page.screenshot({ path: `e2e/out/shots/${name}-${width}-${scheme}.png`, fullPage: true });
  }
}
