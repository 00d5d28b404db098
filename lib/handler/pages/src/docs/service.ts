/** The service that the page is of: where it is, its key, and its OpenAPI document. */
import { $ } from "../dom.ts";

/** Where the handler is, under whatever path. */
const root = new URL(".", location.href);

/** An address of the service's own. */
export const at = (path: string): string => new URL(`.${path}`, root).href;

/** The headers with the key, or with what is shown in its place. The key is in its field and nowhere else. */
export function keyed(headers: Record<string, string>, shown?: string): Record<string, string> {
  const key = $<HTMLInputElement>("key").value.trim();
  return key ? { ...headers, Authorization: `Bearer ${shown ?? key}` } : headers;
}

/** As much of a JSON Schema as is read. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  const?: unknown;
  enum?: unknown[];
  default?: unknown;
  examples?: unknown[];
  properties?: Record<string, SchemaOrBoolean>;
  required?: string[];
  additionalProperties?: SchemaOrBoolean;
  items?: SchemaOrBoolean;
  minItems?: number;
  minimum?: number;
  anyOf?: SchemaOrBoolean[];
  oneOf?: SchemaOrBoolean[];
  allOf?: SchemaOrBoolean[];
  contentSchema?: SchemaOrBoolean;
}

/** `true` takes anything, as no schema does; `false` takes nothing. */
export type SchemaOrBoolean = Schema | boolean | undefined;

/** A body of one media type. */
export interface MediaType {
  schema?: SchemaOrBoolean;
  itemSchema?: SchemaOrBoolean;
}

/** Bodies by media type. */
export type Content = Record<string, MediaType>;

/** A response as OpenAPI has it. */
export interface ResponseObject {
  description: string;
  headers?: Record<string, { description?: string }>;
  content?: Content;
}

/** A parameter as OpenAPI has it. */
export interface Parameter {
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
}

/** An operation as OpenAPI has it. */
export interface Operation {
  operationId: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, ResponseObject>;
}

/** An operation, and what it is called by. */
export interface Route {
  path: string;
  method: string;
  operation: Operation;
}

interface OpenApi {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas?: Record<string, Schema> };
}

/** The document, once {@linkcode load} has read it. */
export let api: OpenApi;

/** Reads the document. */
export async function load(): Promise<void> {
  const response = await fetch(at("/openapi.json"), { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`status ${response.status}`);
  api = await response.json();
}
