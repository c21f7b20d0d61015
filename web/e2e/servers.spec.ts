import { expect, inspect, newToken, Server, test, tokensFile } from "./server";

test.use({ expectFailures: true });

test("a server that goes away and returns", async ({ page }) => {
  const server = await Server.start(["digits"]);
  try {
    await page.goto(server.url);
    await expect(page.getByText("live", { exact: true })).toBeVisible();
    await server.stop();
    await expect(page.getByText("no connection", { exact: true })).toBeVisible();
    await page.getByRole("link", { name: "Try it" }).click();
    await expect(page.getByRole("alert")).toContainText("The server does not answer.");
    await server.run();
    await page.getByRole("link", { name: "Overview" }).click();
    await expect(page.getByText("live", { exact: true })).toBeVisible();
    await expect(page.getByLabel("Health")).toBeVisible();
  } finally {
    await server.end();
  }
});

test("a server whose models are gone", async ({ page }) => {
  const server = await Server.start(["digits"]);
  try {
    expect((await fetch(`${server.url}/v2/repository/models/digits/unload`, { method: "POST" })).status).toBe(200);
    server.remove("digits");
    await page.goto(server.url);
    await expect(page.getByText("No model is served.")).toBeVisible();
    await inspect(page, "empty");
    await page.getByRole("link", { name: "Try it" }).click();
    await expect(page.getByText("The server has no model.")).toBeVisible();
    await page.getByRole("link", { name: "Models" }).click();
    await expect(page.getByText(/has no packages|unavailable/).first()).toBeVisible();
    await page.goto(`${server.url}/#/models/digits`);
    await expect(page.getByRole("alert")).toContainText("digits");
    await page.goto(`${server.url}/#/nowhere`);
    await expect(page.getByText("This page does not exist.")).toBeVisible();
  } finally {
    await server.end();
  }
});

test("a server with tokens", async ({ page }) => {
  const [infer, admin] = [newToken("guest", "infer"), newToken("boss", "admin")];
  const server = await Server.start(["digits"], ["--tokens", tokensFile([infer, admin])]);
  try {
    await page.goto(server.url);
    await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
    await inspect(page, "sign-in");
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toBeVisible();

    await page.getByLabel("Token").fill(infer.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "Not allowed" })).toBeVisible();
    await page.getByRole("link", { name: "Try it" }).click();
    await page.getByPlaceholder("sevne").fill("seven");
    await page.getByLabel("Accuracy floor").fill("0.5");
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page.locator(".winner")).toContainText("seven");
    await expect(page.getByText("A token with role admin also shows")).toBeVisible();
    await expect(page.locator("pre")).toContainText("$MOSEL_TOKEN");
    await page.getByRole("link", { name: "Models" }).click();
    await page.getByRole("button", { name: "Load digits", exact: true }).click();
    await expect(page.getByRole("alert")).toContainText("needs role admin");

    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").fill(admin.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("link", { name: "Overview" }).click();
    await expect(page.getByLabel("Health")).toBeVisible();
    // The token is in this tab only: not in the address, a cookie or the local storage.
    expect(page.url()).not.toContain(admin.token);
    expect(await page.context().cookies()).toEqual([]);
    expect(await page.evaluate(() => localStorage.length)).toBe(0);
    await page.reload();
    await expect(page.getByLabel("Health")).toBeVisible();
    const other = await page.context().newPage();
    await other.goto(server.url);
    await expect(other.getByRole("heading", { name: "Sign in" })).toBeVisible();
  } finally {
    await server.end();
  }
});
