/**
 * "Try it": the form of an operation's request, the request in the words of each client, and what comes
 * of it when it is sent.
 */
import { $, copyText } from "../dom.ts";
import { Attempt } from "./attempt.ts";
import { button, h } from "./elements.ts";
import { fill, fillWithLatest } from "./latest.ts";
import { box } from "./results.ts";
import { sampleOf } from "./schema.ts";
import { at, keyed, type Parameter, type Route } from "./service.ts";
import { type Asked, snippetsOf } from "./snippets.ts";

interface Field extends Parameter {
  readonly input: HTMLInputElement | HTMLSelectElement;
}

const labelled = (label: string, input: Element, more: Record<string, string> = {}) =>
  h("label", more, h("b", {}, label), input);

const select = (...options: unknown[]) =>
  h("select", {}, ...options.map(String).map((value) => h("option", { value }, value || "(none)")));

// One of the models, so that the form can be sent as it is.
async function fillModel(input: HTMLInputElement): Promise<void> {
  const response = await fetch(at("/v1/models"), { headers: keyed({}) });
  if (!response.ok) return;
  const { data } = await response.json() as { data: { id: string }[] };
  fill(input, input.value || (data[0]?.id ?? ""));
}

function fieldOf(parameter: Parameter, path: string): Field {
  const { name, in: where, schema } = parameter;
  if (schema?.enum) return { ...parameter, input: select("", ...schema.enum) };
  const input = h("input", { class: "code", name });
  // Without it the path is another route's.
  input.required = where === "path";
  if (where === "path" && name === "model") fillModel(input);
  else fillWithLatest(input, path, parameter);
  return { ...parameter, input };
}

function bodyField(schema: Parameters<typeof sampleOf>[0]): HTMLTextAreaElement {
  const body = h("textarea", { class: "code", spellcheck: "false" });
  body.value = JSON.stringify(sampleOf(schema), undefined, 2);
  body.rows = Math.min(12, body.value.split("\n").length);
  return body;
}

// The request at hand for each client, shown anew by `update`.
function snippetsFor(request: () => Asked): { element: HTMLElement; update: () => void } {
  const clients = h("div", { class: "buttons", role: "group", "aria-label": "Client" });
  const snippet = box("Snippet");
  const copy = button("Copy", () => copyText(snippet));
  let client = "curl";
  const choose = (name: string) => {
    client = name;
    update();
    const chosen = [...clients.children].find(({ textContent }) => textContent === name);
    (chosen as HTMLElement).focus();
  };
  function update(): void {
    const asked = request();
    const snippets = snippetsOf({ ...asked, headers: keyed(asked.headers, "$API_KEY") });
    clients.replaceChildren(
      ...Object.keys(snippets).map((name) =>
        button(name, () => choose(name), { "aria-pressed": String(name === client) })
      ),
    );
    snippet.textContent = snippets[client] ?? "";
  }
  const bar = h("div", { class: "bar" }, clients, copy);
  return { element: h("div", { class: "snippets" }, bar, snippet), update };
}

/** The element to try an operation with. */
export function trial({ path, method, operation }: Route): HTMLElement {
  const types = Object.keys(operation.responses[200]?.content ?? {});
  const streaming = types.includes("text/event-stream");
  const fields = (operation.parameters ?? []).map((parameter) => fieldOf(parameter, path));
  const accept = types.length > 1 ? select(...types) : undefined;
  const content = operation.requestBody?.content["application/json"];
  const body = content && bodyField(content.schema);
  const attempt = new Attempt(streaming);

  // What would be sent now: for the button and for the snippets.
  function request(): Asked {
    const filled = fields.reduce(
      (path, { in: where, name, input }) =>
        where === "path" ? path.replace(`{${name}}`, encodeURIComponent(input.value)) : path,
      path,
    );
    const url = new URL(at(filled));
    const headers: Record<string, string> = {};
    if (body) headers["Content-Type"] = "application/json";
    if (types.length > 0) headers.Accept = accept?.value ?? types[0]!;
    for (const { in: where, name, input: { value } } of fields) {
      if (where === "query" && value) url.searchParams.set(name, value);
      if (where === "header" && value) headers[name] = value;
    }
    const format = url.searchParams.get("format") ?? "";
    // The other APIs stream where their body says so.
    const wants = !path.startsWith("/v1/") || /"stream"\s*:\s*true/.test(body?.value ?? "");
    const streams = headers.Accept === "text/event-stream" && wants &&
      !["ndjson", "plain"].includes(format);
    return {
      method: method.toUpperCase(),
      path,
      url: url.href,
      root: at("/"),
      headers,
      body: body?.value,
      streams,
    };
  }

  const snippets = snippetsFor(request);
  const { send, stop, cut, resume } = attempt;
  const form = h(
    "form",
    {
      submit: (event) => {
        event.preventDefault();
        const asked = request();
        attempt.begin({ ...asked, headers: keyed(asked.headers) });
      },
      input: snippets.update,
    },
    ...fields.map(({ name, input }) => labelled(name, input)),
    accept ? labelled("Accept", accept) : "",
    body ? labelled("Body", body, { class: "wide" }) : "",
    h("div", { class: "wide buttons" }, send, ...streaming ? [stop, cut, resume] : []),
  );
  snippets.update();
  $("key").addEventListener("input", snippets.update);
  return h("div", {}, form, attempt.results.element, snippets.element);
}
