/**
 * The program of the reference: it is drawn from `openapi.json` and knows no route by itself. What the
 * document holds is shown, and is shown as text.
 */
import { $ } from "../dom.ts";
import { code, h, inline, prose, soft } from "./elements.ts";
import { resolve, typeBox, typeOf } from "./schema.ts";
import {
  api,
  type Content,
  load,
  type Parameter,
  type ResponseObject,
  type Route,
} from "./service.ts";
import { trial } from "./trial.ts";

function contentOf(content: Content = {}): HTMLElement[] {
  return Object.entries(content).flatMap(([type, { schema, itemSchema }]) => [
    h("p", {}, code(type), itemSchema ? ", each item:" : ":"),
    typeBox(itemSchema ?? resolve(schema)),
  ]);
}

function responseOf([status, response]: [string, ResponseObject]): HTMLElement {
  const { description, content, headers = {} } = response;
  const codes = description.match(/^- \S+(?=:)/gm)?.map((code) => code.slice(3, -1)).join(", ");
  const summary = inline(codes ?? description.split("\n")[0]!);
  return h(
    "details",
    {},
    h("summary", {}, code(status), " ", soft(...summary)),
    ...prose(description),
    ...Object.entries(headers).map(([name, header]) =>
      h("p", {}, code(name), ": ", header.description ?? "")
    ),
    ...contentOf(content),
  );
}

function parameterOf(parameter: Parameter): HTMLElement[] {
  const { name, in: where, description = "", required, schema } = parameter;
  return [
    h("dt", {}, code(name), h("br", {}), where, required ? ", required" : ""),
    h("dd", {}, ...inline(description), " ", h("code", { class: "soft" }, ...typeOf(schema))),
  ];
}

function part(title: string, ...shown: Node[]): HTMLElement {
  return h("details", { class: "part" }, h("summary", {}, h("h4", {}, title)), ...shown);
}

function operationOf(route: Route): HTMLElement {
  const { path, method, operation } = route;
  const { operationId, summary = "", description = "", parameters = [], requestBody } = operation;
  const tryIt = part("Try it");
  // It is made when it is wanted.
  tryIt.addEventListener("toggle", () => tryIt.append(trial(route)), { once: true });
  return h(
    "article",
    { id: `op-${operationId}` },
    h(
      "h3",
      {},
      h("span", { class: `method ${method}` }, method.toUpperCase()),
      code(path),
      soft(summary),
    ),
    ...prose(description),
    parameters.length > 0
      ? part("Parameters", h("dl", { class: "parameters" }, ...parameters.flatMap(parameterOf)))
      : "",
    requestBody ? part("Body", ...contentOf(requestBody.content)) : "",
    part("Responses", ...Object.entries(operation.responses).map(responseOf)),
    tryIt,
  );
}

function linkTo({ path, method, operation }: Route): HTMLElement {
  const link = h("a", { href: `#op-${operation.operationId}` });
  // A path that is too long is broken before a slash.
  const parts = path.split(/(?=\/)/).flatMap((part) => [h("wbr", {}), part]);
  link.append(h("b", {}, method.toUpperCase()), h("span", {}, ...parts));
  return h("li", {}, link);
}

function routesByTag(): Map<string, Route[]> {
  const groups = new Map<string, Route[]>();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "operations";
      groups.set(tag, [...groups.get(tag) ?? [], { path, method, operation }]);
    }
  }
  return groups;
}

/** What can be searched for: articles and, of routes, their links, under headings that they share. */
interface Group {
  readonly headings: HTMLElement[];
  readonly entries: { readonly text: string; readonly shown: HTMLElement[] }[];
}
const groups: Group[] = [];

// Hides what does not hold the words that are searched for.
function search(): void {
  const words = $<HTMLInputElement>("search").value.toLowerCase().split(/\s+/);
  let found = 0;
  for (const { headings, entries } of groups) {
    const matches = entries.map(({ text, shown }) => {
      const isMatch = words.every((word) => text.toLowerCase().includes(word));
      shown.forEach((element) => element.hidden = !isMatch);
      return isMatch;
    }).filter(Boolean);
    headings.forEach((heading) => heading.hidden = matches.length === 0);
    found += matches.length;
  }
  $("nothing").hidden = found > 0;
}

function show(): void {
  const { title, version, description = "" } = api.info;
  document.title = `${title} API`;
  $("title").textContent = title;
  $("version").textContent = version === "0" ? "" : version;
  $("chat").hidden = !api.paths["/"];
  const [main, contents] = [$("main"), $("contents")];
  main.append(...prose(description));
  for (const [tag, routes] of routesByTag()) {
    const headings = [h("h2", {}, tag), h("h2", {}, tag)] as const;
    const shown = routes.map((route) => [operationOf(route), linkTo(route)] as const);
    main.append(headings[0], ...shown.map(([article]) => article));
    contents.append(headings[1], h("ul", {}, ...shown.map(([, link]) => link)));
    const entries = routes.map(({ path, method, operation: { operationId, summary = "" } }, i) => ({
      text: `${method} ${path} ${operationId} ${summary}`,
      shown: [...shown[i]!],
    }));
    groups.push({ headings: [...headings], entries });
  }
  const heading = h("h2", {}, "schemas");
  const entries = Object.entries(api.components.schemas ?? {}).map(([name, schema]) => {
    const described = prose(schema.description ?? "");
    const id = `schema-${name}`;
    return {
      text: name,
      shown: [h("article", { id }, h("h3", {}, name), ...described, typeBox(schema))],
    };
  });
  main.append(heading, ...entries.flatMap(({ shown }) => shown));
  groups.push({ headings: [heading], entries });
  $("search").addEventListener("input", search);
  document.querySelector<HTMLDetailsElement>("article > :last-child")!.open = true;
  // What the address points to was not there when the browser looked for it.
  if (location.hash) {
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }
}

try {
  await load();
  show();
} catch (error) {
  const why = error instanceof Error ? error.message : String(error);
  $("main").append(h("p", {}, `openapi.json could not be read: ${why}`));
}
