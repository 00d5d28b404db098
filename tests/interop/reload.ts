/**
 * Runs the recipes of docs/resume.md and docs/migrating.md. Separate from the tests so that few cuts and
 * many are tried with the same code.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import "./clients/fetch.ts"; // the little of a browser that fetch-event-source needs

/** What the recipes are given in place of what is theirs to bring. */
export const given: {
  source?: () => AsyncIterable<string>;
  prints: unknown[][][];
} = { prints: [] };
(globalThis as { given?: typeof given }).given = given;

const here = fileURLToPath(new URL(".", import.meta.url));
const mod = new URL("../../mod.ts", import.meta.url).href;
const client = new URL("../../lib/client.ts", import.meta.url).href;
let copies: string | undefined;

/** Makes room for copies of the recipes, beside the packages. */
export function openRecipes(): void {
  mkdirSync(`${here}.reload`, { recursive: true });
  copies = mkdtempSync(`${here}.reload/`);
}

/** Removes them. */
export function closeRecipes(): void {
  rmSync(copies!, { recursive: true });
}

/** The file of a recipe. */
export function recipeOf(name: string): string {
  return `${here}recipes/${name}.ts`;
}

/** Runs a recipe against `url`, as often as a page is loaded; what it has printed grows as it goes on. */
export async function run(name: string, url: string, query: string = "Hello?") {
  const prints: unknown[][] = [];
  const number = given.prints.push(prints) - 1;
  const code = readFileSync(recipeOf(name), "utf8")
    .replaceAll("http://127.0.0.1:8000", url)
    .replace('"Hello?"', JSON.stringify(query))
    .replace('"spillway";', `${JSON.stringify(mod)};`)
    .replace('"spillway/client";', `${JSON.stringify(client)};`)
    .replace(
      'for (const token of ["You ", "asked: ", query])',
      "for await (const token of given.source())",
    )
    .replaceAll("console.log(", `((...values) => given.prints[${number}].push(values))(`);
  const file = `${copies}/${name}_${number}.ts`;
  writeFileSync(file, code);
  const module = await import(pathToFileURL(file).href);
  return { module, prints };
}
