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
  link.append(h("b", {}, method.toUpperCase()), path);
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

// Hides what does not hold the words that are searched for.
function search(): void {
  const words = $<HTMLInputElement>("search").value.toLowerCase().split(/\s+/);
  for (const link of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
    const article = document.getElementById(link.hash.slice(1))!;
    const text = `${article.querySelector("h3")!.textContent} ${link.hash}`.toLowerCase();
    const isHidden = !words.every((word) => text.includes(word));
    link.parentElement!.hidden = article.hidden = isHidden;
  }
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
    main.append(h("h2", {}, tag), ...routes.map(operationOf));
    contents.append(h("h2", {}, tag), h("ul", {}, ...routes.map(linkTo)));
  }
  $("search").addEventListener("input", search);
  main.append(h("h2", {}, "schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas ?? {})) {
    const described = prose(schema.description ?? "");
    main.append(
      h("article", { id: `schema-${name}` }, h("h3", {}, name), ...described, typeBox(schema)),
    );
  }
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
