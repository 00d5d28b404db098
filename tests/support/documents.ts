/** The documents of the project, as text and as the code blocks in them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./child.ts";

/** A Markdown file. */
export interface Document {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
}

/** A fenced block of code. */
export interface Block {
  readonly path: string;
  /** What stands behind the fence, as `ts ignore`. */
  readonly language: string;
  readonly code: string;
}

function read(path: string): Document {
  return { path, text: readFileSync(join(root, path), "utf8") };
}

const pages = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).sort();

/** What users read: the README and the pages that it links to. */
export const guides: readonly Document[] = [
  read("README.md"),
  ...pages.map((name) => read(`docs/${name}`)),
];

/** How to use the module, for a model: its code is run as that of the guides is. */
export const skill: Document = read("skills/spillway/SKILL.md");
/** The index of all pages, for a model. */
export const index: Document = read("llms.txt");

/** Those, and what contributors read. */
export const documents: readonly Document[] = [
  ...guides,
  skill,
  index,
  read("AGENTS.md"),
  ...["CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"].map(read),
];

/** All that users read, as one text. */
export const allGuides: string = guides.map(({ text }) => text).join("\n");

const FENCE = /^(`{3,}|~{3,})(.*)\n([\s\S]*?)^\1$/gm;

/** The code blocks of documents, in their order. */
export function blocksOf(some: readonly Document[]): Block[] {
  return some.flatMap(({ path, text }) =>
    [...text.matchAll(FENCE)].map(([, , language, code]) => ({
      path,
      language: language!.trim(),
      code: code!,
    }))
  );
}

/** A document without its code. */
export function proseOf({ text }: Document): string {
  return text.replaceAll(FENCE, "").replaceAll(/(`+)[^`]+\1/g, "");
}
