/** How the reference makes elements: whatever comes from the document goes in as text. */

type Attribute = string | true | ((event: Event) => void);

/** An element; a function is a listener, `true` is an attribute without a value. */
export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, Attribute>>,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A button that sends no form. */
export function button(
  text: string,
  act: () => void,
  more: Readonly<Record<string, Attribute>> = {},
): HTMLButtonElement {
  return h("button", { type: "button", ...more, click: act }, text);
}

/** Code within a line. */
export const code = (text: string): HTMLElement => h("code", {}, text);

/** What matters less. */
export const soft = (...text: (Node | string)[]): HTMLElement =>
  h("span", { class: "soft" }, ...text);

/** A line with code between backticks. */
export function inline(line: string): (Node | string)[] {
  return line.split("`").map((part, i) => i % 2 === 1 ? code(part) : part);
}

/** A text, line by line. */
export function prose(text: string): HTMLElement[] {
  return text.split("\n").filter(Boolean).map((line) => h("p", {}, ...inline(line)));
}
