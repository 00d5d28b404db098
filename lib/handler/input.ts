/**
 * What the body of a request has to be: a schema of any library that speaks Standard Schema, known by
 * its shape alone. It stands apart so that every route that takes an input checks it alike.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Faults, faultsOf, InvalidInput, type Schema } from "./schema.ts";

/** A schema of zod, valibot, arktype or any other library that implements Standard Schema, version 1. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    /** Answers the checked value or the issues, now or later. */
    readonly validate: (
      value: unknown,
    ) => StandardResult<Output> | Promise<StandardResult<Output>>;
    /** For the compiler alone. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    /** The schema as JSON Schema, where the library offers it; may throw where it cannot. */
    readonly jsonSchema?: {
      readonly input: (
        options: { readonly target: "draft-2020-12" },
      ) => Record<string, unknown>;
    };
  };
}

/** What a {@linkcode StandardSchema} makes of a value. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** What is wrong with a value, and where. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema answers for a value that fits. */
export type OutputOf<Schema extends StandardSchema> = NonNullable<
  Schema["~standard"]["types"]
>["output"];

/** A schema of Spillway's own as a {@linkcode StandardSchema}; `make` is given what fits it. */
export function standardSchema<Input, Output>(
  schema: Schema,
  make: (body: Input) => Output,
): StandardSchema<Input, Output> {
  return {
    "~standard": {
      version: 1,
      vendor: "spillway",
      validate: (value) => {
        const faults = faultsOf(value, schema);
        if (faults.length === 0) return { value: make(value as Input) };
        const issues = faults.map(({ pointer, detail }) => ({
          message: detail,
          path: pointer.split("/").slice(1)
            .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~")),
        }));
        return { issues };
      },
      jsonSchema: { input: () => ({ ...schema }) },
    },
  };
}

/** How many faults are told, and how long each may be, in UTF-16 units: both come from a stranger's body. */
const MAX_FAULTS = 100;
const MAX_POINTER = 1000;
const MAX_DETAIL = 500;

/**
 * Checks a value. A schema that waits is not waited for once the reader has left.
 *
 * @param status Of a value that does not fit.
 * @throws {InvalidInput} If it does not fit.
 * @throws What the schema throws; a {@linkcode StreamError} if the reader left.
 */
export async function checkInput<Schema extends StandardSchema>(
  schema: Schema,
  value: unknown,
  signal: AbortSignal,
  status = 422,
): Promise<OutputOf<Schema>> {
  const answered = schema["~standard"].validate(value);
  const result = "then" in answered ? await unlessGone(answered, signal) : answered;
  if (!result.issues) return result.value;
  const faults = faultsIn(result.issues);
  throw new InvalidInput(faults, "invalid_input", { status });
}

/** Whether a value is a schema that {@linkcode checkInput} can use. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  // Some are objects, and arktype's are functions.
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard = "~standard" in value ? value["~standard"] : undefined;
  return typeof standard === "object" && standard !== null && "version" in standard &&
    standard.version === 1 && "validate" in standard && typeof standard.validate === "function";
}

function unlessGone<T>(answered: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => settle(() => reject(new StreamError("disconnected")));
    // What it says after the reader has left, an error too, is nobody's.
    answered.then(
      (result) => settle(() => resolve(result)),
      (error) => settle(() => reject(error)),
    );
    active.listeners++;
    let waiting = true;
    signal.addEventListener("abort", leave);
    if (signal.aborted) leave();

    function settle(answer: () => void): void {
      if (!waiting) return;
      waiting = false;
      active.listeners--;
      signal.removeEventListener("abort", leave);
      answer();
    }
  });
}

/** At least one, for a schema that names none has refused all the same. */
function faultsIn(issues: readonly StandardIssue[]): Faults {
  const faults: Faults = [];
  for (const { message, path = [] } of issues) {
    if (faults.length === MAX_FAULTS) break;
    faults.push({ pointer: pointerOf(path), detail: cut(String(message), MAX_DETAIL) });
  }
  return faults.length > 0 ? faults : [{ pointer: "", detail: "Does not fit" }];
}

/** The place as RFC 6901 writes it. One that is too long ends at what holds it. */
function pointerOf(path: NonNullable<StandardIssue["path"]>): string {
  let pointer = "";
  for (const segment of path) {
    const key = String(typeof segment === "object" ? segment.key : segment);
    const longer = `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (longer.length > MAX_POINTER) break;
    pointer = longer;
  }
  return pointer;
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
