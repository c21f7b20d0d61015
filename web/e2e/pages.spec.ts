import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inspect, Server, test } from "./server";

let server: Server;
test.beforeAll(async () => void (server = await Server.start(["digits", "mfeat"])));
test.afterAll(() => server?.end());

test("overview shows what the server did before the page was opened", async ({ page }) => {
  for (let i = 0; i < 30; i++) await server.ask();
  await server.ask(0.99); // no variant of text reaches it
  await page.waitForTimeout(5500); // until the interval has ended
  await page.goto(server.url);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  const refused = page.getByRole("region", { name: "Requests that did not run" });
  await expect(refused.getByRole("row", { name: /floor impossible/ })).toContainText("1");
  await expect(page.getByRole("region", { name: "Latest decisions" }).getByText("text digits").first()).toBeVisible();
  await expect(page.locator(".u-over")).toHaveCount(6);
  await page.getByRole("button", { name: "Show all 20" }).click();
  await expect(page.locator(".decisions tbody tr")).toHaveCount(20);
  await page.getByRole("combobox", { name: "Model" }).selectOption("mfeat");
  await expect(page.getByText("No batch has run yet.")).toBeVisible();
  await page.getByRole("combobox", { name: "Model" }).selectOption("all");
  await inspect(page, "overview");
});

test("try it with a drawing, a sound and a word", async ({ page }) => {
  await page.goto(`${server.url}/#/try`);
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  const canvas = page.locator("canvas");
  const box = (await canvas.boundingBox())!;
  await page.mouse.move(box.x + 70, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + 180, box.y + 60, { steps: 5 });
  await page.mouse.move(box.x + 110, box.y + 210, { steps: 5 });
  await page.mouse.up();
  await expect(page.getByText("Sends drawing.png.")).toBeVisible();
  await page.getByRole("button", { name: "Use the sound seven.wav" }).click();
  await page.getByPlaceholder("sevne").fill("sevne");
  await page.getByLabel("Accuracy floor").fill("0.99");
  await page.getByLabel("Deadline").fill("0");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.getByRole("region", { name: "Answer" });
  await expect(answer.locator(".winner")).toContainText("seven");
  await expect(answer.getByText("What other choices would have cost")).toBeVisible();
  await expect(answer.locator(".alternatives tbody tr")).toHaveCount(8);
  await inspect(page, "try");
  await answer.getByRole("link", { name: "Why the server chose this" }).click();
  await expect(page.getByRole("heading", { name: "All variants and cascades" })).toBeVisible();
  await expect(page.locator("main")).toBeFocused();
  await inspect(page, "explain");
});

test("try it with samples, files, a recording and nothing", async ({ page }) => {
  await page.goto(`${server.url}/#/try/digits`);
  await page.getByLabel("Deadline").fill("0");
  await page.getByRole("button", { name: "Use the picture three.png" }).click();
  await expect(page.getByText("Sends three.png.")).toBeVisible();
  await page.getByRole("button", { name: "Record" }).click();
  await expect(page.getByText("Recording, at most 10 seconds.")).toBeVisible();
  await page.waitForTimeout(700);
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.getByText("Sends recording.wav.")).toBeVisible();
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator(".winner")).toBeVisible();
  // A modality that is switched off is not sent.
  await page.getByRole("checkbox", { name: "audio" }).uncheck();
  await page.getByLabel("Accuracy floor").fill("0.1");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator(".winner")).toContainText("three");
  await expect(page.locator(".facts").getByText("image", { exact: false }).first()).toBeVisible();
  await page.locator("input[accept*=png]").setInputFiles(join(server.dir, "digits/samples/seven.png"));
  await expect(page.getByText("Sends seven.png.")).toBeVisible();
  await page.getByRole("button", { name: "Clear" }).first().click();
  await expect(page.getByText("Give at least one input.")).toBeVisible();
});

test.describe("refused", () => {
  test.use({ expectFailures: true });
  test("a request that cannot keep its floor says why", async ({ page }) => {
    await page.goto(`${server.url}/#/try/digits`);
    await page.getByPlaceholder("sevne").fill("seven");
    await page.getByLabel("Accuracy floor").fill("0.99");
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page.getByRole("alert")).toContainText("no strategy reaches the accuracy floor");
    await expect(page.getByText("What other choices would have cost")).toBeVisible();
  });
});

test("the request as a program", async ({ page }) => {
  await page.goto(`${server.url}/#/try/digits`);
  await page.getByPlaceholder("sevne").fill("it's sevn");
  await page.getByRole("button", { name: "Use the picture seven.png" }).click();
  const code = page.getByRole("region", { name: "The same request as a program" });
  const dir = mkdtempSync(join(tmpdir(), "mosel-e2e-"));
  const saved = page.waitForEvent("download");
  await code.getByRole("link", { name: "seven.png" }).click();
  await (await saved).saveAs(join(dir, "seven.png"));
  await code.getByRole("button", { name: "Copy" }).click();
  const curl = await page.evaluate(() => navigator.clipboard.readText());
  expect(curl).toBe(await code.locator("pre").innerText());
  expect(execFileSync("sh", ["-c", curl], { cwd: dir, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })).toContain('"variant"');
  await code.getByRole("button", { name: "Python" }).click();
  expect(execFileSync("python3", ["-c", await code.locator("pre").innerText()], { cwd: dir, encoding: "utf8" })).toContain("expected_accuracy");
  await code.getByRole("button", { name: "Go", exact: true }).click();
  await expect(code.locator("pre")).toContainText("client.Request");
  expect(readFileSync(join(dir, "seven.png")).length).toBeGreaterThan(100);
});

test("a form for a model of numbers", async ({ page }) => {
  await page.goto(`${server.url}/#/try`);
  await page.getByRole("combobox", { name: "Model" }).selectOption("mfeat");
  const numbers = page.locator("textarea").first();
  await numbers.fill("1 2 x");
  await expect(page.getByRole("alert")).toContainText('"x" is no number');
  await numbers.fill("1 2 3");
  await expect(page.getByRole("alert")).toContainText("3 numbers; the shape is");
  for (const fill of await page.getByRole("button", { name: "Fill with zeros" }).all()) await fill.click();
  await page.getByRole("button", { name: "Fill at random" }).first().click();
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("region", { name: "Answer" }).getByText("expected accuracy")).toBeVisible();
  await inspect(page, "try-numbers");
});

test("the page of a model", async ({ page }) => {
  await server.ask();
  await page.goto(`${server.url}/#/models/digits`);
  await expect(page.getByRole("heading", { name: "digits" })).toBeVisible();
  await expect(page.locator(".u-over")).toHaveCount(2);
  await expect(page.getByRole("row", { name: /^all_int8/ })).toContainText("0.9980");
  await inspect(page, "model");
  await page.getByRole("link", { name: "all models" }).click();
  await expect(page.getByRole("link", { name: "mfeat" })).toBeVisible();
  await inspect(page, "models");
});

test("unload and load", async ({ page }) => {
  await page.goto(`${server.url}/#/models`);
  await page.getByRole("button", { name: "Unload mfeat" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Unload mfeat" }).click();
  await page.getByRole("button", { name: "requests will be refused" }).click();
  await expect(page.getByRole("row", { name: /mfeat/ })).toContainText("unavailable");
  await page.getByRole("link", { name: "Overview" }).click();
  await expect(page.getByText("mfeat is not served")).toBeVisible();
  await page.getByRole("link", { name: "Models", exact: true }).click();
  await page.getByRole("button", { name: "Load mfeat", exact: true }).click();
  await expect(page.getByRole("row", { name: /mfeat/ }).getByText("ready", { exact: true })).toBeVisible();
});

test.describe("explain", () => {
  test.use({ expectFailures: true });
  test("by the server's id, by the client's id, and an unknown one", async ({ page }) => {
    const job = await server.ask();
    await server.ask();
    await page.goto(`${server.url}/#/explain`);
    await page.getByRole("textbox", { name: "Request" }).fill(job);
    await page.getByRole("button", { name: "Explain" }).click();
    await expect(page.getByText("on time", { exact: true })).toBeVisible();
    await page.getByRole("textbox", { name: "Request" }).fill("e2e");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.locator(`a[href="#/explain/${job}"]`).click();
    await expect(page.getByRole("heading", { name: "Batches" })).toBeVisible();
    await page.goto(`${server.url}/#/explain/nobody`);
    await expect(page.getByRole("alert")).toContainText("no request with the client's id");
  });
});

test("keyboard alone", async ({ page }) => {
  await page.goto(server.url);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByText("Skip to the content")).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
  await page.getByRole("link", { name: "Try it" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Try it" })).toBeVisible();
  await expect(page).toHaveTitle("Try it · mosel");
});

test("a slow network", async ({ page, context }) => {
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.emulateNetworkConditions", { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 });
  await page.goto(server.url);
  await expect(page.getByText("live", { exact: true })).toBeVisible({ timeout: 20_000 });
});
