/**
 * A page as it is served: one document with its style and its script inside, under a policy that lets
 * in nothing else. Every page is made here, so that none is sent without that policy.
 */

/**
 * What a page is made of, line by line. All of it is constant: data reaches a page by its script, as
 * text.
 */
export interface PageSource {
  /** The document, whose `<style>` and `<script>` are empty. */
  readonly html: readonly string[];
  readonly style: readonly string[];
  /** A module. */
  readonly script: readonly string[];
}

/** Responds to a GET of the page. */
export type Page = (request: Request) => Promise<Response>;

interface Served {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Makes a page; its hashes are computed when it is first asked for. */
export function createPage(source: PageSource): Page {
  let serving: Promise<Served> | undefined;
  return async (request) => {
    const { html, headers } = await (serving ??= serve(source));
    const known = request.headers.get("if-none-match")?.split(/\s*,\s*/) ?? [];
    const unchanged = known.some((tag) => tag.replace(/^W\//, "") === headers.etag);
    if (unchanged) return new Response(null, { status: 304, headers });
    return new Response(html, {
      headers: { ...headers, "content-type": "text/html; charset=utf-8" },
    });
  };
}

async function serve(source: PageSource): Promise<Served> {
  const style = source.style.join("\n");
  const script = source.script.join("\n");
  const html = `${source.html.join("\n")}\n`
    .replace("</style>", () => `${style}</style>`)
    .replace("</script>", () => `${script}</script>`);
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
