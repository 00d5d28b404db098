/**
 * `GET /v1/models` and `GET /v1/models/{model}`: the model names that requests may use. One
 * document serves the clients of OpenAI's and Anthropic's API, which read different fields at the
 * same path.
 */
import { jsonResponse } from "../../http/response.ts";
import { InvalidInput } from "../schema.ts";

/** A model with the fields of OpenAI's clients (`object`, `created`, `owned_by`) and of Anthropic's. */
export interface ModelEntry {
  /** The name that a request gives as `model`. */
  id: string;
  /** The kind of object, for OpenAI's clients. */
  object: "model";
  /** When the handler was made, in seconds of Unix time. */
  created: number;
  /** Whose model it is, for OpenAI's clients: always `spillway`. */
  owned_by: string;
  /** The kind of object, for Anthropic's clients. */
  type: "model";
  /** The name for people, for Anthropic's clients: the same as `id`. */
  display_name: string;
  /** When the handler was made, as RFC 3339 text. */
  created_at: string;
}

/** The model names that a handler serves. */
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

  /**
   * The entry of one model as a response.
   *
   * @throws {StreamError} `model_not_found`.
   */
  retrieve(name: string): Response {
    const entry = this.#entries.find(({ id }) => id === name);
    if (entry === undefined) throw unknownModel(name);
    return jsonResponse(entry);
  }
}

/** The error for a model name that is not served. */
export function unknownModel(name: string): InvalidInput {
  const faults = [{ pointer: "/model", detail: "Expected a model that is served here" }];
  return new InvalidInput(faults, "model_not_found", {
    detail: JSON.stringify(name.slice(0, 100)),
  });
}
