/**
 * Finds the route of a request by its path and its method, and the shape of errors under a path.
 * Separate from the handler because only paths matter here, not what is served under them.
 */
import { StreamError } from "../error.ts";
import { HANDLER_CODES } from "./codes.ts";
import type { Format } from "../formats/format.ts";
import type { Api, Route } from "./routes/route.ts";

/** The routes of one path, by method. */
type Methods = Map<string, Route>;

/** What is served under a path. */
export interface Found {
  /** The routes by method. */
  readonly methods: ReadonlyMap<string, Route>;
  /** The part of the path in place of the parameter; empty if there is none. */
  readonly name: string;
}

/** The error for a method that a path does not have. Its response says which ones there are. */
export class MethodNotAllowed extends StreamError {
  /** The methods that are allowed, as the `Allow` header has them. */
  readonly allow: string;

  constructor(allow: string, detail: string) {
    const [status, title] = HANDLER_CODES.method_not_allowed;
    super("method_not_allowed", { status, title, detail });
    this.allow = allow;
  }
}

/**
 * The path of a route, below `basePath`; empty if it is not below it. Base URLs that end in a slash
 * give doubled ones, and some clients put one at the end: neither makes another path.
 */
export function pathOf({ pathname }: URL, basePath: string): string {
  const path = pathname.replaceAll(/\/{2,}/g, "/");
  const below = path.startsWith(basePath) ? path.slice(basePath.length) : "";
  return below.length > 1 && below.endsWith("/") ? below.slice(0, -1) : below;
}

/** The table of routes. */
export class Router {
  readonly #paths = new Map<string, Methods>();
  readonly #templates: (readonly [pattern: RegExp, methods: Methods])[] = [];
  /** The longest prefix first. */
  readonly #errors: readonly NonNullable<Api["errors"]>[];

  /**
   * Makes the table.
   *
   * @throws {TypeError} If two routes have the same path and method.
   */
  constructor(apis: readonly Api[]) {
    const byPath = new Map<string, Methods>();
    for (const { routes } of apis) {
      for (const route of routes) {
        const { method, path } = route;
        const methods: Methods = byPath.get(path) ?? new Map();
        if (methods.has(method)) {
          throw new TypeError(`Cannot create the handler: ${method} ${path} is there twice`);
        }
        byPath.set(path, methods.set(method, route));
      }
    }
    for (const [path, methods] of byPath) {
      if (path.includes("{")) this.#templates.push([templateOf(path), methods]);
      else this.#paths.set(path, methods);
    }
    this.#errors = apis.flatMap(({ errors }) => errors ?? [])
      .sort((a, b) => b.under.length - a.under.length);
  }

  /** Whether there is a path without a parameter. */
  has(path: string): boolean {
    return this.#paths.has(path);
  }

  /**
   * Finds what is served under a path.
   *
   * @throws {StreamError} `not_found`, or `bad_request` if the path is not valid UTF-8.
   */
  find(path: string): Found {
    const methods = this.#paths.get(path);
    if (methods !== undefined) return { methods, name: "" };
    for (const [template, methods] of this.#templates) {
      const found = template.exec(path);
      if (found) return { methods, name: decoded(found[1]!) };
    }
    throw new StreamError("not_found");
  }

  /** The format that writes errors for the clients of a path; `undefined` is a problem object. */
  errorFormatOf(path: string): Pick<Format, "errorBody"> | undefined {
    return this.#errors.find(({ under }) => path.startsWith(under))?.format;
  }
}

/**
 * The route for a method. HEAD is that of GET.
 *
 * @throws {MethodNotAllowed} If there is none.
 */
export function routeOf({ methods }: Found, method: string): Route {
  const route = methods.get(method === "HEAD" ? "GET" : method);
  if (route !== undefined) return route;
  const served = [...methods.keys()].join(" or ");
  throw new MethodNotAllowed(allowOf({ methods }), `Send a ${served} request, not ${method}`);
}

/** The `Allow` header of what is served under a path. */
export function allowOf({ methods }: Pick<Found, "methods">): string {
  return [...methods.keys(), ...methods.has("GET") ? ["HEAD"] : [], "OPTIONS"].join(", ");
}

/** A pattern for a path with one parameter: one segment or, at its end, the rest of the path. */
function templateOf(path: string): RegExp {
  const pattern = path.replaceAll(".", "\\.").replace(/\{\w+\}$/, "(.+)").replace(
    /\{\w+\}/,
    "([^/]+)",
  );
  return new RegExp(`^${pattern}$`);
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch (cause) {
    throw new StreamError("bad_request", { detail: "The path is not valid UTF-8", cause });
  }
}
