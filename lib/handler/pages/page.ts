/**
 * A page as it is served: one document with its style and its script inside, under a policy that lets
 * in nothing else. It stands apart so that no page is ever sent without that policy.
 */

/** What a page is made of. All of it is constant: data reaches a page by its script, as text. */
export interface PageParts {
  readonly title: string;
  readonly style: string;
  readonly body: string;
  /** A module. */
  readonly script: string;
}

/** Answers a GET of the page. */
export type Page = (request: Request) => Promise<Response>;

interface Served {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Water over a crest, as a URL that fits an attribute without quotes. */
const ICON =
  `<link rel="icon" href=data:image/svg+xml,%3Csvg%20xmlns=%27http:%2F%2Fwww.w3.org%2F2000%2Fsvg%27%20viewBox=%270%200%2024%2024%27%20fill=%27none%27%20stroke=%27%230b7480%27%20stroke-width=%273%27%3E%3Cpath%20d=%27M2%206h6c6%200%206%2012%2014%2012M2%2012h4c4%200%204%208%209%208%27%2F%3E%3C%2Fsvg%3E>`;

/** The same drawing for the top of a page. */
export const MARK =
  `<svg class="mark" viewBox="0 0 24 24" aria-hidden="true"><path d="M2 6h6c6 0 6 12 14 12M2 12h4c4 0 4 8 9 8"/></svg>`;

/** Makes a page; its hashes are computed when it is first asked for. */
export function createPage(parts: PageParts): Page {
  let serving: Promise<Served> | undefined;
  return async (request) => {
    const { html, headers } = await (serving ??= serve(parts));
    const known = request.headers.get("if-none-match")?.split(/\s*,\s*/) ?? [];
    const unchanged = known.some((tag) => tag.replace(/^W\//, "") === headers.etag);
    if (unchanged) return new Response(null, { status: 304, headers });
    return new Response(html, {
      headers: { ...headers, "content-type": "text/html; charset=utf-8" },
    });
  };
}

/** Without indentation and lines of comment, which are for who reads the source: no text has such lines. */
function compact(code: string): string {
  return code.replace(/^\s+/gm, "").replace(/^\/\/.*\n/gm, "");
}

function compactStyle(style: string): string {
  return style.replace(/\s*([{},;])\s*/g, "$1").replaceAll(": ", ":").trim();
}

async function serve({ title, body, ...parts }: PageParts): Promise<Served> {
  const style = compactStyle(parts.style);
  const script = compact(parts.script);
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<title>${title}</title>
${ICON}
<style>${style}</style>
</head>
<body>
${body}
<script type="module">${script}</script>
</body>
</html>
`;
  const policy = [
    "default-src 'none'",
    `script-src '${await hashOf(script)}'`,
    `style-src '${await hashOf(style)}'`,
    "img-src data:", // the icon
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    // Nothing can be made of text but text: the browser itself refuses `innerHTML` and its like.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ];
  return {
    html,
    headers: {
      "content-security-policy": policy.join("; "),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
      etag: `"${(await hashOf(html)).slice("sha256-".length)}"`,
    },
  };
}

async function hashOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(text),
  );
  return `sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}
