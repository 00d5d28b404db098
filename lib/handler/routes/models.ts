/**
 * `GET /v1/models` and `GET /v1/models/{model}`: which names may be asked for. One document serves the
 * clients of both APIs, which look for it at the same place and for different fields in it.
 */
import { jsonResponse } from "../../http/response.ts";
import { InvalidInput } from "../schema.ts";

/** A model as OpenAI's clients read it (`object`, `created`, `owned_by`) and as Anthropic's do. */
export interface ModelEntry {
  id: string;
  object: "model";
  /** Seconds of Unix time: when the handler was made. */
  created: number;
  owned_by: string;
  type: "model";
  display_name: string;
  /** The same time, RFC 3339. */
  created_at: string;
}

/** The names that a handler serves. */
export class Models {
  readonly #entries: readonly ModelEntry[];

  constructor(names: readonly string[]) {
    const nowMs = Date.now();
    this.#entries = names.map((id) => ({
      id,
      object: "model",
      created: Math.floor(nowMs / 1000),
      owned_by: "spillway",
      type: "model",
      display_name: id,
      created_at: new Date(nowMs).toISOString(),
    }));
  }

  list(): Response {
    return jsonResponse({
      object: "list",
      data: this.#entries,
      has_more: false,
      first_id: this.#entries[0]?.id ?? null,
      last_id: this.#entries.at(-1)?.id ?? null,
    });
  }

  /** @throws {StreamError} `model_not_found`. */
  retrieve(name: string): Response {
    const entry = this.#entries.find(({ id }) => id === name);
    if (entry === undefined) throw unknownModel(name);
    return jsonResponse(entry);
  }
}

/** The refusal of a name that is not served. */
export function unknownModel(name: string): InvalidInput {
  const faults = [{ pointer: "/model", detail: "Expected a model that is served here" }];
  return new InvalidInput(faults, "model_not_found", {
    detail: JSON.stringify(name.slice(0, 100)),
  });
}
