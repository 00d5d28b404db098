/** The error object of OpenAI's APIs, which chat completions and responses have in common. */
import { pathOf, type Problem } from "../error.ts";
import { sentenceOf } from "./finish.ts";

/**
 * An error response before the headers; chat completions fail with the same in the stream.
 *
 * @param noParam What stands there if no field of the request is at fault.
 */
export function errorBody(problem: Problem, noParam: "" | null = null): string {
  const { status, code, errors } = problem;
  const param = pathOf(errors?.[0]?.pointer ?? "") || noParam;
  const error = { message: sentenceOf(problem), type: errorType(status), param, code };
  return JSON.stringify({ error });
}

function errorType(status: number): string {
  if (status >= 500) return "server_error";
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  return status === 429 ? "rate_limit_error" : "invalid_request_error";
}
