/** What was begun last, on whichever operation: the fields that name it are filled in. */
import type { Parameter } from "./service.ts";
import { parseJson } from "../../../../values.ts";

/** What a field may name. */
type Kind = "stream" | "response" | "chat" | "run" | "agentRun";

const latest: Partial<Record<Kind, string>> = {};

/** Fills in a field, as a person would. */
export function fill(input: HTMLInputElement, value: string): void {
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Fills in the fields that name a thing of this kind. */
export function remember(kind: Kind, name: string): void {
  latest[kind] = name;
  document.querySelectorAll<HTMLInputElement>(`input.${kind}`).forEach((input) => {
    fill(input, name);
  });
}

/** What a request has named by itself. */
export function rememberSent(
  { path, headers, body = "" }: {
    path: string;
    headers: Record<string, string>;
    body?: string | undefined;
  },
): void {
  const { id } = parseJson(body) as { id?: unknown } | undefined ?? {};
  if (path === "/api/chat" && typeof id === "string") remember("chat", id);
  const { "X-Run-Id": run } = headers;
  if (run) remember(path === "/ag-ui" ? "agentRun" : "run", run);
}

function kindOf(path: string, { name, in: where }: Parameter): Kind | undefined {
  if (where === "query" && name === "runId") return path === "/ag-ui" ? "agentRun" : "run";
  if (where !== "path") return undefined;
  if (path.startsWith("/v1/responses/")) return "response";
  return path.startsWith("/api/chat/")
    ? "chat"
    : path.startsWith("/streaming/")
    ? "stream"
    : undefined;
}

/** Fills in a field that names what was begun last, now and whenever another is begun. */
export function fillWithLatest(input: HTMLInputElement, path: string, parameter: Parameter): void {
  const kind = kindOf(path, parameter);
  if (!kind) return;
  input.classList.add(kind);
  input.value = latest[kind] ?? "";
  input.placeholder = "of what was begun last";
}
