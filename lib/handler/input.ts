/**
 * Checks the input against a schema of any library that implements Standard Schema, known by its
 * shape alone. Separate from the routes so that all of them check an input in the same way.
 */
import { active } from "../counters.ts";
import { StreamError } from "../error.ts";
import { type Faults, faultsOf, InvalidInput, type Schema } from "./schema.ts";
import { hasMethod, isObject } from "../values.ts";

/**
 * A schema of zod, valibot, arktype or any other library that implements Standard Schema, version
 * 1.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** What the standard has a schema say of itself, under this one key. */
  readonly "~standard": {
    /** The version of Standard Schema. */
    readonly version: 1;
    /** The name of the library. */
    readonly vendor: string;
    /** Returns the checked value or the issues, or a promise of them. */
    readonly validate: (
      value: unknown,
    ) => StandardResult<Output> | Promise<StandardResult<Output>>;
    /** The schema's types; exists for the compiler alone. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
    /** The schema as JSON Schema, if the library offers it; may throw where it cannot express it. */
    readonly jsonSchema?: {
      readonly input: (
        options: { readonly target: "draft-2020-12" },
      ) => Record<string, unknown>;
    };
  };
}

/** The result of a {@linkcode StandardSchema}: the checked value, or issues. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** What is wrong with a value, and where. */
export interface StandardIssue {
  /** What is wrong, for people; the client is sent its first 500 UTF-16 units. */
  readonly message: string;
  /** The keys that lead to the value, from the outermost; absent for the value as a whole. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** The type of a value that a schema has checked. */
export type OutputOf<Schema extends StandardSchema> = NonNullable<
  Schema["~standard"]["types"]
>["output"];

/**
 * Makes a {@linkcode StandardSchema} from one of Spillway's own schemas; `make` gets a value that
 * fits.
 */
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

/**
 * Limits on the number of faults in an error, and on the length of each, in UTF-16 units: both
 * depend on an untrusted body.
 */
const MAX_FAULTS = 100;
const MAX_POINTER = 1000;
const MAX_DETAIL = 500;

/**
 * Checks a value. An async schema is not awaited further once the client has disconnected.
 *
 * @param status The status of the error for a value that does not fit.
 * @throws {InvalidInput} If the value does not fit.
 * @throws Whatever the schema throws; a {@linkcode StreamError} if the client disconnected.
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
  // Most are objects, but arktype's are functions.
  if (!isObject(value) && typeof value !== "function") return false;
  const standard = "~standard" in value ? value["~standard"] : undefined;
  return hasMethod(standard, "validate") && "version" in standard && standard.version === 1;
}

/**
 * Waits for a value, but no longer once the client has disconnected.
 *
 * @throws {StreamError} `disconnected`
 * @throws Whatever the promise rejects with.
 */
export function unlessGone<T>(answered: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => settle(() => reject(new StreamError("disconnected")));
    // After the client has disconnected the result is ignored, an error too.
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

/**
 * The faults of the issues. At least one, because a schema that lists no issue has still rejected
 * the value.
 */
function faultsIn(issues: readonly StandardIssue[]): Faults {
  const faults: Faults = [];
  for (const { message, path = [] } of issues) {
    if (faults.length === MAX_FAULTS) break;
    faults.push({ pointer: pointerOf(path), detail: cut(String(message), MAX_DETAIL) });
  }
  return faults.length > 0 ? faults : [{ pointer: "", detail: "Does not fit" }];
}

/**
 * The path as a JSON pointer (RFC 6901). A pointer that is too long is cut to a parent of the
 * value.
 */
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
