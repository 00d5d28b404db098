/**
 * Embeds the user's schema in the document. Separate from the document because the references of a
 * JSON Schema mean another place once it is part of a larger one.
 */
import type { StandardSchema } from "../input.ts";
import type { JsonSchema } from "./operation.ts";

/** The description of an input whose library offers no JSON Schema. */
export const UNKNOWN: JsonSchema = { description: "Whatever the server's input schema accepts." };
/** Keywords whose values are schemas by name; `DATA` those whose values are data. */
const NAMED = new Set(["properties", "patternProperties", "$defs", "dependentSchemas"]);
const DATA = new Set(["const", "default", "enum", "examples"]);

/**
 * The JSON Schema of an input under `name`, and each of its definitions under a name of its own.
 *
 * @throws Whatever the library throws if it cannot express the schema.
 */
export function embed(name: string, schema: StandardSchema): Record<string, JsonSchema> {
  const converter = schema["~standard"].jsonSchema;
  if (converter === undefined) return { [name]: UNKNOWN };
  const { $schema: _, ...embedded } = converter.input({ target: "draft-2020-12" });
  // A schema with an `$id` is a resource of its own, so its references stay right.
  if ("$id" in embedded) return { [name]: embedded };
  const { $defs = {}, ...root } = embedded as { $defs?: Record<string, unknown> };
  const names = new Map<string, string>();
  for (const key of Object.keys($defs)) {
    names.set(pointerKey(key), `${name}.${names.size}.${key.replace(/[^\w.-]/g, "_")}`);
  }
  const moved = (reference: string): string => {
    if (reference !== "#" && !reference.startsWith("#/")) return reference;
    const [, key, rest = ""] = /^#\/\$defs\/([^/]*)(.*)$/.exec(decodeURIComponent(reference)) ?? [];
    const definition = names.get(key ?? "");
    return definition === undefined
      ? `#/components/schemas/${name}${reference.slice(1)}`
      : `#/components/schemas/${definition}${rest}`;
  };
  const schemas: Record<string, JsonSchema> = { [name]: move(root, moved) as JsonSchema };
  for (const [key, definition] of Object.entries($defs)) {
    schemas[names.get(pointerKey(key))!] = move(definition, moved) as JsonSchema;
  }
  return schemas;
}

function pointerKey(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** A copy of a schema with its references moved. */
function move(schema: unknown, moved: (reference: string) => string): unknown {
  if (Array.isArray(schema)) return schema.map((part) => move(part, moved));
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => {
      if (keyword === "$ref" && typeof value === "string") return [keyword, moved(value)];
      if (DATA.has(keyword)) return [keyword, value];
      if (!NAMED.has(keyword)) return [keyword, move(value, moved)];
      const parts = Object.entries(value as object);
      return [keyword, Object.fromEntries(parts.map(([name, part]) => [name, move(part, moved)]))];
    }),
  );
}
