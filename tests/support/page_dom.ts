/**
 * As much of a document as the programs of the pages build: elements and texts, which can be written out
 * to be compared. Not a parser: what is text stays text.
 */

class FakeText {
  parent: FakeElement | undefined;
  data: string;
  constructor(data: string) {
    this.data = data;
  }
  get length(): number {
    return this.data.length;
  }
  get textContent(): string {
    return this.data;
  }
  appendData(data: string): void {
    this.data += data;
  }
  remove(): void {
    this.parent?.drop(this);
  }
}

class FakeElement {
  parent: FakeElement | undefined;
  readonly childNodes: (FakeElement | FakeText)[] = [];
  readonly attributes: Record<string, string> = {};
  className = "";
  href = "";
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
  get lastChild(): FakeElement | FakeText | undefined {
    return this.childNodes.at(-1);
  }
  append(...nodes: (FakeElement | FakeText | string)[]): void {
    for (const node of nodes) {
      const made = typeof node === "string" ? new FakeText(node) : node;
      if (made.parent) made.remove();
      made.parent = this;
      this.childNodes.push(made);
    }
  }
  drop(node: FakeElement | FakeText): void {
    this.childNodes.splice(this.childNodes.lastIndexOf(node), 1);
    node.parent = undefined;
  }
  remove(): void {
    this.parent?.drop(this);
  }
  setAttribute(name: string, value: string): void {
    this.attributes[name] = value;
  }
  addEventListener(): void {}
  get textContent(): string {
    return this.childNodes.map((node) => node.textContent).join("");
  }
  set textContent(text: string) {
    for (const node of this.childNodes.splice(0)) node.parent = undefined;
    if (text) this.append(text);
  }
}

/** An element as it is written out, such as `p(Hello em(you))`; a link has its address behind an `@`. */
export function written(node: FakeElement | FakeText): string {
  if (node instanceof FakeText) return node.data;
  const { name, className, href, attributes, childNodes } = node;
  const more = (className && `.${className}`) + (href && `@${href}`) +
    Object.entries(attributes).map(([name, value]) => `[${name}=${value}]`).join("");
  return `${name}${more}(${childNodes.map(written).join("")})`;
}

/** Puts the document in place of the one that a browser has. Returns what makes an element. */
export function installDocument(): (name: string) => FakeElement {
  const createElement = (name: string) => new FakeElement(name);
  Object.assign(globalThis, { document: { createElement }, Text: FakeText });
  return createElement;
}
