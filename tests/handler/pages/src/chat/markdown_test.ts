/**
 * The chat page's markdown: the same elements wherever a text is cut, text for what is hostile, and no
 * more work for a token of a long answer than for one of a short.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { installDocument, written } from "../../../../support/page_dom.ts";

const createElement = installDocument();
const { Markdown } = await import("../../../../../lib/handler/pages/src/chat/markdown.ts");

/** What a text becomes that arrives in pieces of `step` characters. */
function shown(text: string, step = text.length || 1): string {
  const root = createElement("div");
  const markdown = new Markdown(root as unknown as Element);
  for (let at = 0; at < text.length; at += step) {
    markdown.write(text.slice(at, at + step));
    markdown.flush();
  }
  markdown.end();
  return root.childNodes.map(written).join("\n");
}

const CASES: Record<string, [text: string, elements: string]> = {
  "headings and paragraphs": [
    "# Hi *you*\none\ntwo\n\n  ####### three",
    "h3(Hi em(you))\np(one\ntwo)\np(####### three)",
  ],
  emphasis: [
    "**a** and __b__, *c* ***d*** ~~e~~ **f *g* h** 2 * 3 * 4 snake_case_name",
    "p(strong(a) and strong(b), em(c) strong(em(d)) del(e) strong(f em(g) h) 2 * 3 * 4 snake_case_name)",
  ],
  "code in a line": ["`a*b*` ``x`y`` \\*no\\*", "p(code(a*b*) code(x`y) *no*)"],
  links: [
    "[a](https://x.y/z_(1)) https://x.y/w. [b *c*](mailto:d@e.f)",
    "p(a@https://x.y/z_(1)(a) a@https://x.y/w(https://x.y/w). a@mailto:d@e.f(b em(c)))",
  ],
  "lists in lists": [
    "- a\n- b\n  - c\n    more\n- d\n\n3. x\n   - y\n4. z\n\nafter",
    "ul(li(p(a))li(p(b)ul(li(p(c\nmore))))li(p(d)))\nol[start=3](li(p(x)ul(li(p(y))))li(p(z)))\np(after)",
  ],
  quotes: [
    "> a\n> b\n>\n> - c\n\nout",
    "blockquote(p(a\nb)ul(li(p(c))))\np(out)",
  ],
  "a table": [
    "| a | b |\n|---|--:|\n| 1 | `2` |\n| **3** |\n\npara | x",
    "div.table(table(thead(tr(th(a)th.right(b)))tbody(tr(td(1)td.right(code(2)))tr(td(strong(3))td.right()))))\np(para | x)",
  ],
  "a table without bars at its edges": [
    "a | b\n---|---\n1 | 2\ndone",
    "div.table(table(thead(tr(th(a)th(b)))tbody(tr(td(1)td(2)))))\np(done)",
  ],
  "fenced code": [
    "```js\nlet a = '*';\n\n  b\n```\nafter",
    "div.block(div.bar(span(js)button(Copy))pre(code(let a = '*';\n\n  b)))\np(after)",
  ],
  "code in a list": [
    "1. a\n\n   ```\n   x\n   ```\n2. b",
    "ol(li(p(a)div.block(div.bar(span(code)button(Copy))pre(code(x))))li(p(b)))",
  ],
  rules: ["a\n\n* * *\n---\n**b** c", "p(a)\nhr()\nhr()\np(strong(b) c)"],
};

for (const [name, [text, elements]] of Object.entries(CASES)) {
  test(`Markdown: ${name}, in pieces of any length`, () => {
    for (const step of [text.length, 1, 2, 3, 7]) {
      assert.equal(shown(text, step), elements, `in pieces of ${step}`);
    }
  });
}

test("Markdown: a mark that has no partner yet is not seen, and is text in the end", () => {
  const root = createElement("div");
  const markdown = new Markdown(root as unknown as Element);
  const after = (text: string) => {
    markdown.write(text);
    markdown.flush();
    return root.childNodes.map(written).join("");
  };
  assert.equal(after("so **bo"), "p(so strong(bo))");
  assert.equal(after("ld and `co"), "p(so strong(bold and code(co)))");
  assert.equal(after("de` on** see [the"), "p(so strong(bold and code(code) on) see the)");
  assert.equal(after("re](https://x"), "p(so strong(bold and code(code) on) see there)");
  markdown.end();
  assert.equal(
    root.childNodes.map(written).join(""),
    "p(so strong(bold and code(code) on) see [there](a@https://x/(https://x))",
  );
});

test("Markdown: what is shown stays the same element while more comes", () => {
  const root = createElement("div");
  const markdown = new Markdown(root as unknown as Element);
  markdown.write("one **two** three four");
  markdown.flush();
  const [paragraph] = root.childNodes as unknown as { childNodes: unknown[] }[];
  const before = [...paragraph!.childNodes.slice(0, 3)];
  markdown.write(" five *six* seven");
  markdown.flush();
  assert.equal(root.childNodes[0], paragraph as never);
  before.forEach((node, i) => assert.equal(paragraph!.childNodes[i], node as never));
});

test("Markdown: a browser never has to look at more than some hundred blocks at once", () => {
  const root = createElement("div");
  const markdown = new Markdown(root as unknown as Element);
  for (let i = 0; i < 250; i++) {
    markdown.write(`- item ${i}\n\n${i}\n\n`);
    markdown.flush();
  }
  markdown.end();
  const [blocks, parts] = [root.childNodes.slice(0, 100), root.childNodes.slice(100)];
  assert.equal(written(blocks[99]!), "p(49)");
  assert(blocks.every((block) => !written(block).startsWith("div")));
  assert.equal(parts.length, 4);
  assert.match(
    parts.map(written).join(""),
    /^div\.part\(ul\(li\(p\(item 50\)\)\)p\(50\).*p\(249\)\)$/,
  );
});

const HOSTILE: Record<string, string> = {
  "a script's address":
    "[x](javascript:alert(1)) [y](data:text/html,1) [z](vbscript:a) ![i](//a/b)",
  "a name in an address": "[x](https://bank.example@evil.example/)",
  html: `<img src=x onerror="alert(1)"><script>alert(2)</script><b>x</b> &lt;`,
  "marks of direction": "a\u202eb\u2066c [d\u202e](javascript:e) \u200f",
  "open brackets": "[".repeat(10_000),
  "open images": "![a](".repeat(2000),
  "a table in a table": "| <table><tr><td>| a |</td></tr></table> |",
  "control characters": "\u0000\u0001\u001b[31m",
};
for (const [name, text] of Object.entries(HOSTILE)) {
  test(`Markdown: ${name} is text`, () => {
    for (const step of [text.length, 5]) assert.equal(shown(text, step), `p(${text})`);
  });
}

test("Markdown: pairs of surrogates stay together in long texts", () => {
  const root = createElement("div");
  const markdown = new Markdown(root as unknown as Element);
  markdown.write(`x${"😀".repeat(5000)}`);
  markdown.end();
  const [paragraph] = root.childNodes as unknown as { childNodes: { data: string }[] }[];
  for (const { data } of paragraph!.childNodes) assert(data.isWellFormed());
});

const DEEP: Record<string, string> = {
  brackets: "[".repeat(20_000),
  links: "[a](".repeat(20_000),
  stars: "**a *b _c ".repeat(5000),
  ticks: Array.from({ length: 2000 }, (_, i) => `${"`".repeat(i % 50 + 1)}a`).join(""),
  "a fence that never ends": `\`\`\`\n${"x y\n".repeat(50_000)}`,
  quotes: "> ".repeat(20_000),
  items: "- ".repeat(20_000),
  numbers: "1. ".repeat(20_000),
  bars: "|".repeat(100_000),
  rows: `${"|a".repeat(1000)}\n${"|-".repeat(1000)}\n`.repeat(20),
  dashes: "-".repeat(100_000),
  spaces: `${" ".repeat(100_000)}x`,
  addresses: "https://".repeat(10_000),
  "one word": "x".repeat(300_000),
};
test("Markdown: nothing takes long, and nothing nests deep", () => {
  for (const [name, text] of Object.entries(DEEP)) {
    const before = process.cpuUsage();
    const elements = shown(text, 512);
    const { user, system } = process.cpuUsage(before);
    assert((user + system) / 1000 < 1000, `${name}: ${(user + system) / 1000} ms`);
    let depth = 0, deepest = 0;
    for (const [bracket] of elements.matchAll(/(?<=[a-z])\(|\)/g)) {
      depth += bracket === "(" ? 1 : -1;
      deepest = Math.max(deepest, depth);
    }
    if (["quotes", "items", "numbers"].includes(name)) assert(deepest < 30, `${name}: ${deepest}`);
  }
});

test("Markdown: an answer ten times as long takes ten times as long", () => {
  const part =
    "Some **bold** words, `code` and [a link](https://a.b/c) in a line.\n\n- an *item*\n";
  const costOf = (parts: number) => {
    const before = process.cpuUsage();
    shown(part.repeat(parts), 8);
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  costOf(300);
  const [short, long] = [costOf(300), costOf(3000)];
  assert(long < 30 * Math.max(short, 2000), `${short} µs and ${long} µs`);
});
