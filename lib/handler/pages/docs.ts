/**
 * `GET /docs`: the reference, drawn from `/openapi.json` by the browser. It knows no route by itself:
 * what the document holds is shown, and what it holds is shown as text.
 */
import { createPage, MARK, type Page } from "./page.ts";
import { READER } from "./reader.ts";
import { SNIPPETS } from "./snippets.ts";
import { STYLE } from "./style.ts";
import { TRIAL } from "./trial.ts";

const style = String.raw`
html { scroll-padding-top: 4.5rem; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: .4rem 1rem; padding: .6rem max(1rem, 50% - 36rem); border-bottom: 1px solid var(--line); background: var(--ground); }
header h1 { flex: 1; }
header label { display: flex; align-items: center; gap: .5rem; font-size: .875rem; white-space: nowrap; }
header input { width: 11rem; padding-block: .25rem; }
.columns { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 2.5rem; padding: 1.5rem max(1rem, 50% - 36rem) 4rem; }
nav { position: sticky; top: 5rem; align-self: start; max-height: calc(100vh - 6rem); overflow-y: auto; font-size: .9rem; padding: 3px; }
nav ul { padding: 0; margin-bottom: 1rem; list-style: none; }
nav a { display: flex; gap: .6rem; padding: .15rem .3rem; border-radius: .4rem; color: inherit; text-decoration: none; }
nav a:hover { background: var(--tint); }
nav b { flex: none; width: 3.2rem; font-size: .75rem; line-height: 1.4rem; color: var(--soft); }
h2 { margin: 2.5rem 0 1rem; font-size: 1.3rem; letter-spacing: -.01em; }
nav h2 { margin: 0 0 .2rem; padding: 0 .3rem; font-size: .8rem; color: var(--soft); }
main > :first-child { margin-top: 0; }
h3 { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; font-size: 1.05rem; }
h4 { font-size: .95rem; }
h5 { margin: 0 0 .3rem; font-size: .8rem; font-weight: 600; color: var(--soft); }
article { margin-bottom: 1.2rem; padding: 1.2rem 1.4rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--raised); }
.method { padding: .05rem .55rem; border-radius: .5rem; background: var(--tint); color: var(--accent); font: 600 .8rem/1.6 ui-monospace, monospace; }
.method.delete { background: var(--bad-tint); color: var(--bad); }
.soft, small { color: var(--soft); font-weight: 400; }
pre { padding: .8rem 1rem; border-radius: .7rem; background: var(--ground); white-space: pre-wrap; line-height: 1.5; }
summary { padding: .15rem 0; cursor: pointer; }
summary h4 { display: inline; }
.part { margin-top: .6rem; padding-top: .5rem; border-top: 1px solid var(--line); }
details > :not(summary) { margin: .3rem 0 .6rem; }
.parameters { display: grid; grid-template-columns: fit-content(12rem) 1fr; gap: .3rem 1rem; font-size: .95rem; }
.parameters dt { font-size: inherit; }
form { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem 1rem; }
form b { display: block; font-size: .875rem; }
textarea { display: block; resize: vertical; }
.wide { grid-column: 1 / -1; }
.buttons, .bar { display: flex; flex-wrap: wrap; gap: .5rem; }
.results, .snippets { margin-top: 1.2rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .6rem; margin-bottom: 1rem; }
.figures div { padding: .4rem .8rem; border-radius: .7rem; background: var(--tint); }
dt { font-size: .78rem; color: var(--soft); }
.figures dd { font-weight: 600; font-variant-numeric: tabular-nums; }
.panes { display: grid; grid-auto-columns: minmax(0, 1fr); grid-auto-flow: column; gap: 1rem; margin-bottom: 1rem; }
.panes pre { height: 14rem; overflow: auto; resize: vertical; }
.panes .Text { font: inherit; }
figure { margin: 0; padding: .8rem 1rem; border-radius: .7rem; background: var(--ground); }
figure svg { display: block; width: 100%; height: 5rem; overflow: visible; }
figure path { fill: none; stroke: var(--accent); stroke-width: 3; vector-effect: non-scaling-stroke; }
figcaption { font-size: .8rem; color: var(--soft); }
.bar { justify-content: space-between; margin-bottom: .5rem; }
.snippets button { min-height: 2rem; padding: .1rem .8rem; font-size: .875rem; }
[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
@media (max-width: 56rem) {
  .columns { grid-template-columns: minmax(0, 1fr); gap: 1.5rem; }
  nav, header { position: static; max-height: none; }
}
@media (max-width: 40rem) {
  article { padding: 1rem; }
  .panes { grid-auto-flow: row; }
  .panes pre { height: 10rem; }
}
`;

const body = `<header>
<h1>${MARK}<span id="title">API</span> <small id="version"></small></h1>
<a href="./" id="chat" hidden>Chat</a>
<label>API key <input id="key" type="password" autocomplete="off" placeholder="only in this field"></label>
</header>
<div class="columns">
<nav id="contents" aria-label="Operations"></nav>
<main id="main"></main>
</div>
<p id="status" class="unseen" role="status"></p>
<template id="chart"><figure><svg viewBox="0 0 300 60" preserveAspectRatio="none" role="img"><path/></svg><figcaption></figcaption></figure></template>`;

const script = String.raw`
const $ = (id) => document.getElementById(id);

// An element; a function is a listener, true is an attribute without a value.
function h(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
const code = (text) => h("code", {}, text);
const soft = (...text) => h("span", { class: "soft" }, ...text);
const say = (text) => ($("status").textContent = text);

// Where the handler is, under whatever path, and an address of its own there.
const root = new URL(".", location.href);
const at = (path) => new URL("." + path, root).href;

// The key is in its field and nowhere else.
function keyed(headers, shown) {
  const key = $("key").value.trim();
  return key ? { ...headers, Authorization: "Bearer " + (shown ?? key) } : headers;
}

let api;
const REF = "#/components/schemas/";
const nameOf = (ref) => decodeURIComponent(ref.slice(REF.length));
function resolve(schema) {
  for (let i = 0; i < 8 && schema?.$ref?.startsWith(REF); i++) {
    schema = api.components.schemas[nameOf(schema.$ref)];
  }
  return typeof schema === "object" && schema !== null ? schema : {};
}

// Text with code between backticks, line by line.
const inline = (line) => line.split("${"`"}").map((part, i) => i % 2 ? code(part) : part);
const prose = (text) => text.split("\n").filter(Boolean).map((line) => h("p", {}, ...inline(line)));

// A schema as one would write a type: pieces of text, and links to what has a name.
function typeOf(schema, by = "") {
  if (schema === true || schema === undefined) return ["anything"];
  if (schema === false) return ["nothing"];
  const { $ref, type, properties = {}, required = [], items, additionalProperties: more } = schema;
  if ($ref?.startsWith(REF)) return [h("a", { href: "#schema-" + nameOf($ref) }, nameOf($ref))];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const joined = (all, word) => all.flatMap((each, i) => [...i > 0 ? [word] : [], ...typeOf(each, by)]);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return joined(choices, " | ");
  if (schema.allOf) return joined(schema.allOf, " & ");
  if (schema.contentSchema) return ["JSON of ", ...typeOf(schema.contentSchema, by)];
  if (Array.isArray(type)) return joined(type.map((one) => ({ ...schema, type: one })), " | ");
  if (type === "array") {
    const item = typeOf(items, by);
    return item.includes(" | ") ? ["(", ...item, ")[]"] : [...item, "[]"];
  }
  if (type !== "object" && !schema.properties) return [type ?? "anything"];
  const names = Object.keys(properties);
  if (names.length === 0) return more && more !== true ? ["{ [name]: ", ...typeOf(more, by), " }"] : ["object"];
  const inner = by + "  ";
  return ["{\n", ...names.flatMap((name) => [
    inner, name, required.includes(name) ? ": " : "?: ", ...typeOf(properties[name], inner), ";", remark(properties[name]), "\n",
  ]), by, "}"];
}

const BOUNDS = ["minimum", "maximum", "minLength", "maxLength", "minItems", "pattern", "format", "default"];
function remark(schema) {
  if (typeof schema !== "object") return "";
  const bounds = BOUNDS.filter((name) => name in schema).map((name) => name + " " + JSON.stringify(schema[name]));
  const text = [schema.description, bounds.join(", ")].filter(Boolean).join(" ");
  return text && soft("  // " + text.replaceAll("\n", " "));
}
const typeBox = (schema) => h("pre", {}, ...typeOf(schema));

function contentOf(content = {}) {
  return Object.entries(content).flatMap(([type, { schema, itemSchema }]) => [
    h("p", {}, code(type), itemSchema ? ", each item:" : ":"),
    typeBox(itemSchema ?? resolve(schema)),
  ]);
}

function responseOf([status, { description, content, headers = {} }]) {
  const rest = [...prose(description),
    ...Object.entries(headers).map(([name, header]) => h("p", {}, code(name), ": ", header.description ?? "")),
    ...contentOf(content)];
  const codes = description.match(/^- \S+(?=:)/gm)?.map((code) => code.slice(3, -1)).join(", ");
  return h("details", {}, h("summary", {}, code(status), " ", soft(...inline(codes ?? description.split("\n")[0]))), ...rest);
}

const part = (title, ...shown) => h("details", { class: "part" }, h("summary", {}, h("h4", {}, title)), ...shown);

function operationOf({ path, method, operation }) {
  const { operationId, summary = "", description = "", parameters = [], requestBody, responses } = operation;
  const tryIt = part("Try it");
  // It is made when it is wanted.
  tryIt.addEventListener("toggle", () => tryIt.append(trial({ path, method, operation })), { once: true });
  return h("article", { id: "op-" + operationId },
    h("h3", {}, h("span", { class: "method " + method }, method.toUpperCase()), code(path), soft(summary)),
    ...prose(description),
    parameters.length > 0 ? part("Parameters", h("dl", { class: "parameters" },
      ...parameters.flatMap(({ name, in: where, description = "", required, schema }) => [
        h("dt", {}, code(name), h("br", {}), where, required ? ", required" : ""),
        h("dd", {}, ...inline(description), " ", h("code", { class: "soft" }, ...typeOf(schema))),
      ]))) : "",
    requestBody ? part("Body", ...contentOf(requestBody.content)) : "",
    part("Responses", ...Object.entries(responses).map(responseOf)),
    tryIt);
}

function show() {
  const { title, version, description = "" } = api.info;
  document.title = title + " API";
  $("title").textContent = title;
  $("version").textContent = version === "0" ? "" : version;
  $("chat").hidden = !api.paths["/"];
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "operations";
      groups.set(tag, [...groups.get(tag) ?? [], { path, method, operation }]);
    }
  }
  $("main").append(...prose(description));
  for (const [tag, operations] of groups) {
    $("main").append(h("h2", {}, tag), ...operations.map(operationOf));
    $("contents").append(h("h2", {}, tag), h("ul", {}, ...operations.map(({ path, method, operation }) =>
      h("li", {}, h("a", { href: "#op-" + operation.operationId }, h("b", {}, method.toUpperCase()), path)))));
  }
  const schemas = Object.entries(api.components.schemas ?? {});
  $("main").append(h("h2", {}, "schemas"), ...schemas.map(([name, schema]) =>
    h("article", { id: "schema-" + name },
      h("h3", {}, name), ...prose(schema.description ?? ""), typeBox(schema))));
  document.querySelector("article > :last-child").open = true;
  // What the address points to was not there when the browser looked for it.
  if (location.hash) $(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const response = await fetch(at("/openapi.json"), { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error("status " + response.status);
  api = await response.json();
  show();
} catch (error) {
  $("main").append(h("p", {}, "openapi.json could not be read: " + error.message));
}
`;

/** The page. */
export const docsPage: Page = createPage({
  title: "API",
  style: STYLE + style,
  body,
  script: READER + SNIPPETS + TRIAL + script,
});
