import { useEffect, useState } from "preact/hooks";
import { ApiError } from "./api";

// Loaded is the result of a call: nothing yet, a value, or an error.
export type Loaded<T> = { value?: T; error?: ApiError };

// useLoad calls again when one of the keys changes, and returns the earlier result until
// then. A later call's result wins.
export function useLoad<T>(get: () => Promise<T>, keys: unknown[]): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({});
  useEffect(() => {
    let current = true;
    get().then(
      (value) => current && setLoaded({ value }),
      (e) => current && setLoaded({ error: e instanceof ApiError ? e : new ApiError(0, String(e)) }),
    );
    return () => void (current = false);
  }, keys);
  return loaded;
}

// ErrorText is an error with what to do.
export function errorText(e: ApiError): string {
  return e.status === 0 ? `${e.message} Is it running?` : e.message;
}
