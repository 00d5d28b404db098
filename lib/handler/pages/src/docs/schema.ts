/** A JSON Schema as one would write a type, and a value that it takes. */
import { h, soft } from "./elements.ts";
import { api, type Schema, type SchemaOrBoolean } from "./service.ts";

type Piece = Node | string;

const REF = "#/components/schemas/";
const MAX_DEPTH = 8;
const TUTORIAL = "Streaming responseのテスト";
const BOUNDS = [
  "minimum",
  "maximum",
  "minLength",
  "maxLength",
  "minItems",
  "pattern",
  "format",
  "default",
];

const isObject = (schema: unknown): schema is Schema =>
  typeof schema === "object" && schema !== null;
const nameOf = (ref: string) => decodeURIComponent(ref.slice(REF.length));

/** The schema that a reference leads to. */
export function resolve(schema: SchemaOrBoolean): Schema {
  for (let i = 0; i < MAX_DEPTH && isObject(schema) && schema.$ref?.startsWith(REF); i++) {
    schema = api.components.schemas?.[nameOf(schema.$ref)];
  }
  return isObject(schema) ? schema : {};
}

/** A type: pieces of text, and links to what has a name. */
export function typeOf(schema: SchemaOrBoolean, by = ""): Piece[] {
  if (schema === true || schema === undefined) return ["anything"];
  if (schema === false) return ["nothing"];
  const { $ref, type } = schema;
  if ($ref?.startsWith(REF)) return [h("a", { href: `#schema-${nameOf($ref)}` }, nameOf($ref))];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const joined = (all: SchemaOrBoolean[], word: string) =>
    all.flatMap((each, i) => [...i > 0 ? [word] : [], ...typeOf(each, by)]);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return joined(choices, " | ");
  if (schema.allOf) return joined(schema.allOf, " & ");
  if (schema.contentSchema) return ["JSON of ", ...typeOf(schema.contentSchema, by)];
  if (Array.isArray(type)) return joined(type.map((one) => ({ ...schema, type: one })), " | ");
  if (type === "array") {
    const item = typeOf(schema.items, by);
    return item.includes(" | ") ? ["(", ...item, ")[]"] : [...item, "[]"];
  }
  const isObjectType = type === "object" || (type === undefined && schema.properties);
  return isObjectType ? objectOf(schema, by) : [type ?? "anything"];
}

function objectOf(schema: Schema, by: string): Piece[] {
  const { properties = {}, required = [], additionalProperties: more } = schema;
  const inner = `${by}  `;
  const members = Object.entries(properties).flatMap(([name, property]) => [
    ...[inner, name, required.includes(name) ? ": " : "?: "],
    ...typeOf(property, inner),
    ...[";", remark(property), "\n"],
  ]);
  if (members.length > 0) return ["{\n", ...members, by, "}"];
  return more && more !== true ? ["{ [name]: ", ...typeOf(more, by), " }"] : ["object"];
}

function remark(schema: SchemaOrBoolean): Piece {
  if (!isObject(schema)) return "";
  const bounds = BOUNDS.filter((name) => name in schema)
    .map((name) => `${name} ${JSON.stringify(schema[name as keyof Schema])}`);
  const text = [schema.description, bounds.join(", ")].filter(Boolean).join(" ");
  return text && soft(`  // ${text.replaceAll("\n", " ")}`);
}

/** A type in a box of its own. */
export const typeBox = (schema: SchemaOrBoolean): HTMLElement => h("pre", {}, ...typeOf(schema));

/** A value: a text that every string takes, and an object with what is required. */
export function sampleOf(schema: SchemaOrBoolean, depth = 0): unknown {
  const one = resolve(schema);
  if (one.examples && one.examples.length > 0) return one.examples[0];
  if (one.enum) return one.enum[0];
  for (const name of ["default", "const"] as const) if (name in one) return one[name];
  const part = one.anyOf?.[0] ?? one.oneOf?.[0] ?? one.allOf?.[0];
  const isDeep = depth >= MAX_DEPTH;
  if (part && !isDeep) return sampleOf(part, depth + 1);
  const type = [one.type].flat()[0] ?? (one.properties ? "object" : "string");
  if (type === "object") {
    const { required = [], properties = {} } = one;
    const names = isDeep ? [] : required.filter((name) => properties[name]);
    return Object.fromEntries(names.map((name) => [name, sampleOf(properties[name], depth + 1)]));
  }
  if (type === "array") {
    return (one.minItems ?? 0) > 0 && !isDeep ? [sampleOf(one.items, depth + 1)] : [];
  }
  if (type === "integer" || type === "number") return one.minimum ?? 1;
  return type === "string" ? TUTORIAL : type === "boolean" ? false : null;
}
