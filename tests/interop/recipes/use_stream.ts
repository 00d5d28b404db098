import { useEffect, useRef, useState } from "react";
import { connect, type Connection, type ConnectionState } from "spillway/client";

const headers = { "content-type": "application/json" };
export function useStream(url: string) {
  const current = useRef<Connection>(undefined);
  const [text, setText] = useState("");
  const [state, setState] = useState<ConnectionState>();
  async function read(query?: string, streamId?: string) {
    current.current?.leave();
    setText("");
    const onState = (state: ConnectionState) => {
      sessionStorage.setItem(url, current.current?.streamId ?? "");
      setState(state);
    };
    const body = JSON.stringify({ query });
    const connection = connect(url, { method: "POST", headers, body, streamId, onState });
    current.current = connection;
    try {
      for await (const token of connection.tokens()) setText((text) => text + token);
    } catch { /* the state has the error */ }
  }
  useEffect(() => {
    const kept = sessionStorage.getItem(url);
    if (kept) read(undefined, kept); // the page was loaded again
    return () => current.current?.leave();
  }, [url]);
  return { text, state, ask: (query: string) => read(query), stop: () => current.current?.stop() };
}
