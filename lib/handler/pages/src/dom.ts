/** What the programs of both pages need of a document. */

/** The element with this id: each page's own markup has it. */
export function $<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** Tells a screen reader. */
export function announce(text: string): void {
  $("status").textContent = text;
}

/** Appends to a long text in pieces: to append to a text node is to copy it. */
export function appendText(parent: Element, text: string): void {
  const last = parent.lastChild;
  if (last instanceof Text && last.length < 4096) last.appendData(text);
  else parent.append(text);
}

/** Copies what an element shows, or selects it where copying is denied. */
export function copyText(shown: Element, text: string = shown.textContent): void {
  const select = () => getSelection()?.selectAllChildren(shown);
  // Only a secure page has a clipboard.
  if (!navigator.clipboard) select();
  else navigator.clipboard.writeText(text).then(() => announce("Copied."), select);
}
