/**
 * The shapes of request bodies, as the subset of JSON Schema that they need, and the check of a
 * value against one. Separate from the routes and the OpenAPI operations so that what is checked
 * and what is documented are the same schema.
 */
import { HANDLER_CODES, type HandlerCode } from "./codes.ts";
import { pathOf, type Problem, StreamError, type StreamErrorOptions } from "../error.ts";

type TypeName = "string" | "number" | "integer" | "boolean" | "object" | "array" | "null";

/** A shape in JSON Schema (2020-12). A keyword applies only to values of the type that it is about. */
export interface Schema {
  type?: TypeName | readonly TypeName[];
  description?: string;
  enum?: readonly (string | number | boolean | null)[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  /** A condition: where this schema holds, `then` must hold as well. */
  if?: Schema;
  then?: Schema;
}

/** A schema for `if`: the property exists and has one of the values. */
export function where(name: string, ...values: string[]): Schema {
  return { required: [name], properties: { [name]: { enum: values } } };
}

/** Faults of an input, each with a JSON pointer (RFC 6901). */
export type Faults = NonNullable<Problem["errors"]>;

const IS: Readonly<Record<TypeName, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: Number.isSafeInteger,
  boolean: (value) => typeof value === "boolean",
  object: isObject,
  array: Array.isArray,
  null: (value) => value === null,
};

/** Limit of faults in one error: an untrusted body may have a million. */
const MAX_FAULTS = 20;

/** An error for a request whose JSON does not fit its schema. */
export class InvalidInput extends StreamError {
  /** The faults, at least one. */
  readonly faults: Faults;

  /**
   * Creates an error for these faults.
   *
   * @param options Without a `detail`, the first fault is the detail, with its path.
   */
  constructor(
    faults: Faults,
    code: HandlerCode = "invalid_input",
    options: StreamErrorOptions = {},
  ) {
    const { pointer, detail } = faults[0]!;
    const [status, title] = HANDLER_CODES[code];
    super(code, {
      status,
      title,
      detail: pointer === "" ? detail : `${pathOf(pointer)}: ${detail}`,
      ...options,
    });
    this.faults = faults;
  }
}

/** What is wrong with `value`, at most 20 faults; empty if it fits. */
export function faultsOf(value: unknown, schema: Schema): Faults {
  const faults: Faults = [];
  find(value, schema, "", faults);
  return faults;
}

function find(value: unknown, schema: Schema, pointer: string, faults: Faults): void {
  if (faults.length >= MAX_FAULTS) return;
  const expected = mismatch(value, schema);
  if (expected !== undefined) {
    faults.push({ pointer, detail: `Expected ${expected}` });
    return;
  }
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items) value.forEach((item, i) => find(item, items, `${pointer}/${i}`, faults));
  } else if (isObject(value)) {
    for (const name of schema.required ?? []) {
      if (!Object.hasOwn(value, name)) {
        faults.push({ pointer: at(pointer, name), detail: "Required" });
      }
    }
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (Object.hasOwn(value, name)) find(value[name], property, at(pointer, name), faults);
    }
  }
  if (schema.if && schema.then && faultsOf(value, schema.if).length === 0) {
    find(value, schema.then, pointer, faults);
  }
}

/** What was expected in place of the value itself, regardless of its members. */
function mismatch(value: unknown, schema: Schema): string | undefined {
  const types = typeof schema.type === "string" ? [schema.type] : schema.type;
  if (types && !types.some((type) => IS[type](value))) {
    return types.filter((type) => type !== "null").map(withArticle).join(" or ");
  }
  if (schema.enum && !schema.enum.includes(value as string)) {
    const values = schema.enum.filter((value) => value !== null);
    return values.length > 1 ? `one of ${values.join(", ")}` : String(values[0]);
  }
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (typeof value === "number" && !(value >= minimum && value <= maximum)) {
    return maximum === Infinity ? `${minimum} or more` : `${minimum} to ${maximum}`;
  }
  if (typeof value === "string" && value.length < (schema.minLength ?? 0)) return "some text";
  if (typeof value === "string" && value.length > (schema.maxLength ?? Infinity)) {
    return `${schema.maxLength} characters or fewer`;
  }
  if (!Array.isArray(value)) return undefined;
  if (value.length < (schema.minItems ?? 0)) return `${schema.minItems} or more items`;
  if (value.length > (schema.maxItems ?? Infinity)) return `${schema.maxItems} items or fewer`;
  return undefined;
}

function withArticle(type: TypeName): string {
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function at(pointer: string, name: string): string {
  return `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
