import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { setToken, token } from "./api";
import { Explain } from "./explain";
import { ModelPage, Models } from "./model";
import { Overview } from "./overview";
import { connect, forget, type Known, useServer } from "./store";
import "./style.css";
import { Try } from "./try";

// route is the part of the address after #, such as ["models", "digits"].
function route(): string[] {
  return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
}

function useRoute(): string[] {
  const [at, setAt] = useState(route);
  useEffect(() => {
    const tell = () => setAt(route());
    addEventListener("hashchange", tell);
    return () => removeEventListener("hashchange", tell);
  }, []);
  return at;
}

const pages = [
  { at: "", name: "Overview" },
  { at: "try", name: "Try it" },
  { at: "models", name: "Models" },
  { at: "explain", name: "Explain" },
];

function App() {
  const known = useServer();
  const [page, name] = useRoute();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const found = pages.find((p) => p.at === page);
  useEffect(() => {
    document.title = found?.at ? `${found.name} · mosel` : "mosel";
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [page]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), main.current?.focus())}>
        Skip to the content
      </a>
      <header>
        <a class="logo" href="#/">
          <img src="/icon.svg" alt="" width="24" height="24" /> mosel
        </a>
        <nav aria-label="Pages">
          {pages.map((p) => (
            <a key={p.at} href={`#/${p.at}`} aria-current={p.at === page ? "page" : undefined}>
              {p.name}
            </a>
          ))}
        </nav>
        <Connection known={known} />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Page page={page} name={name} known={known} />
      </main>
    </>
  );
}

function Page({ page, name, known }: { page: string; name?: string; known: Known }) {
  if (known.error?.status === 401) return <SignIn message={token() ? known.error.message : ""} />;
  switch (page) {
    case "":
      return known.error?.status === 403 ? <Refused known={known} /> : <Overview known={known} />;
    case "try":
      return <Try model={name} again={token()} />;
    case "models":
      return name ? <ModelPage key={name} name={name} known={known} /> : <Models known={known} />;
    case "explain":
      return <Explain key={name} id={name} again={token()} />;
  }
  return <p class="card">This page does not exist.</p>;
}

function Refused({ known }: { known: Known }) {
  return (
    <section class="card" role="alert">
      <h1>Not allowed</h1>
      <p>{known.error?.message}</p>
      {token() && <p>This page needs a token with role admin. Try it works with role infer.</p>}
    </section>
  );
}

function Connection({ known }: { known: Known }) {
  const text = { live: "live", lost: "no connection", connecting: "connecting" }[known.connection];
  return (
    <div class="connection">
      <span class={`dot ${known.connection}`} aria-hidden="true" />
      <span role="status">{known.error?.status === 401 ? "signed out" : text}</span>
      {token() && known.error?.status !== 401 && (
        <button type="button" onClick={() => (setToken(""), forget(), connect())}>
          Sign out
        </button>
      )}
    </div>
  );
}

function SignIn({ message }: { message: string }) {
  const [value, setValue] = useState("");
  function submit(e: Event) {
    e.preventDefault();
    setToken(value.trim());
    connect();
  }
  return (
    <form class="card signin" onSubmit={submit}>
      <h1>Sign in</h1>
      <p>This server needs a token. mosel token makes one. It stays in this tab and is gone when you close it.</p>
      <label>
        Token
        <input type="password" autocomplete="off" value={value} onInput={(e) => setValue(e.currentTarget.value)} required />
      </label>
      {message && (
        <p class="problem red" role="alert">
          {message}
        </p>
      )}
      <button type="submit" class="primary">
        Sign in
      </button>
    </form>
  );
}

connect();
render(<App />, document.getElementById("app")!);
