/** What both pages look like: colours for day and night, buttons, fields, and where the focus is. */

/** Comes before a page's own style. Every pair of text and ground has a contrast of 4.5 or more. */
export const STYLE: string = String.raw`
:root {
  color-scheme: light dark;
  --ground: #f4f7f7; --raised: #fff; --tint: #e0eef0; --line: #d3dedf; --edge: #768a8c;
  --ink: #152224; --soft: #4b5f61; --accent: #09636d; --on-accent: #fff;
  --bad: #a11d2c; --bad-tint: #fceced;
  font: 1rem/1.6 system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1719; --raised: #172225; --tint: #1b3338; --line: #28383b; --edge: #738689;
    --ink: #e2eaea; --soft: #9fb1b3; --accent: #67c7d1; --on-accent: #06272b;
    --bad: #ff9ba3; --bad-tint: #3a1d22;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere; }
h1, h2, h3, h4, p, pre, ul, dl, dd { margin: 0; }
h1 { display: flex; align-items: center; gap: .5rem; font-size: 1.1rem; letter-spacing: -.01em; }
a { color: var(--accent); text-underline-offset: .2em; }
.mark { width: 1.5em; flex: none; fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linecap: round; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button, input, select, textarea { font: inherit; color: inherit; }
button {
  min-height: 2.5rem; padding: .3rem 1rem; border: 1px solid var(--edge); border-radius: .7rem;
  background: var(--raised); cursor: pointer;
}
button:hover { border-color: var(--accent); color: var(--accent); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
button.main:hover { background: var(--ink); border-color: var(--ink); color: var(--ground); }
button:disabled { opacity: .5; cursor: default; }
input, select, textarea {
  width: 100%; padding: .45rem .7rem; border: 1px solid var(--edge); border-radius: .7rem;
  background: var(--raised);
}
::placeholder { color: var(--soft); opacity: 1; }
code, pre, .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .875em; }
@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after { animation: none !important; transition: none !important; scroll-behavior: auto !important; }
}
`;
