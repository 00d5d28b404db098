/**
 * What the server streams: a relay of the upstreams that are set, or the echo. Separate from the program
 * because only settings decide it.
 */
import { readFileSync } from "node:fs";
import type { FullHandlerOptions } from "../full_handler.ts";
import { echo } from "../sources/echo.ts";
import { openai, type OpenAIUpstream } from "../sources/openai.ts";
import { parseJson } from "../values.ts";
import { fileReason } from "./failures.ts";
import type { Settings } from "./settings.ts";

/**
 * The upstreams that are set, in the order in which they are asked; none is the echo.
 *
 * @throws {RangeError} With one line that names what is wrong.
 */
export function upstreamsOf(settings: Settings): OpenAIUpstream[] {
  const { openaiBaseUrl: baseURL, openaiApiKey: apiKey, openaiModel: model } = settings;
  const { openaiFallback: fallback, openaiFields: fields } = settings;
  if (!baseURL) {
    const name = apiKey
      ? "OPENAI_API_KEY"
      : model
      ? "OPENAI_MODEL"
      : fallback
      ? "OPENAI_FALLBACK"
      : undefined;
    if (name === undefined) return [];
    throw new RangeError(
      `${name} is set, and OPENAI_BASE_URL is missing; set it to relay, as ` +
        `https://api.openai.com/v1, or unset ${name} for the echo`,
    );
  }
  if (!model) {
    throw new RangeError(
      "OPENAI_BASE_URL is set, and OPENAI_MODEL is missing; set the name of a model",
    );
  }
  return [
    { baseURL, model, ...apiKey ? { apiKey } : {}, ...fields ? { fields } : {} },
    ...fallback ? upstreamsIn(fallback) : [],
  ];
}

/** The upstreams in a file. */
function upstreamsIn(path: string): OpenAIUpstream[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new RangeError(`OPENAI_FALLBACK: ${fileReason(error, path)}`);
  }
  const upstreams = parseJson(text);
  if (Array.isArray(upstreams) && upstreams.length > 0) return upstreams as OpenAIUpstream[];
  // What JSON.parse says of a file may repeat a key in it.
  throw new RangeError(
    `OPENAI_FALLBACK: the file is ${upstreams === undefined ? "no JSON" : "no list of upstreams"}` +
      `; it has to be like [{ "baseURL": "https://...", "model": "..." }]`,
  );
}

/** The variables of the options that an upstream has. */
const VARIABLES: Readonly<Record<string, string>> = {
  baseURL: "OPENAI_BASE_URL",
  apiKey: "OPENAI_API_KEY",
  model: "OPENAI_MODEL",
  fields: "OPENAI_FIELDS",
};

/**
 * The relay of these upstreams, or the echo if there are none.
 *
 * @throws {RangeError} With one line that names what is wrong.
 */
export function sourceOf(
  settings: Settings,
  upstreams: readonly OpenAIUpstream[],
): NonNullable<FullHandlerOptions["source"]> {
  const [first, ...fallback] = upstreams;
  if (first === undefined) return echo({ delayMs: settings.tokenDelayMs });
  const quiet = settings.openaiStreamOptions ? {} : { stream_options: undefined };
  const options = {
    ...first,
    body: quiet,
    headTimeoutMs: settings.openaiHeadTimeoutMs,
    firstTokenTimeoutMs: settings.openaiFirstTokenTimeoutMs,
    tokenTimeoutMs: settings.openaiTokenTimeoutMs,
    answerTimeoutMs: settings.openaiAnswerTimeoutMs,
    fallbackTimeoutMs: settings.openaiFallbackTimeoutMs,
    retries: settings.openaiRetries,
  };
  let variable = "OPENAI_BASE_URL, OPENAI_API_KEY or OPENAI_MODEL: ";
  try {
    const source = openai(options);
    if (fallback.length === 0) return source;
    variable = "OPENAI_FALLBACK: ";
    openai({ ...options, fallback });
    // Only an upstream that was checked can be given further fields.
    const all = fallback.map((upstream) => ({ ...upstream, body: { ...quiet, ...upstream.body } }));
    return openai({ ...options, fallback: all });
  } catch (error) {
    // The message names the option and holds neither the key nor the URL.
    const reason = (error as Error).message.replace("Cannot create the source: ", "");
    const named = reason.replace(/^(?:baseURL|apiKey|model|fields)\b/, (name) => VARIABLES[name]!);
    throw new RangeError(named === reason ? variable + reason : named);
  }
}
