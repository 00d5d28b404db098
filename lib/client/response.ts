/**
 * What the head of a response says. Separate from the link, which decides what follows from it.
 */

/** Why a response cannot be read, by its code. */
export const MESSAGES: Readonly<Record<string, string>> = {
  no_event_stream: "The response is no event stream",
  no_body: "No stream: pass another `fetch`",
  other_stream: "The response is another stream",
  redirected: "The response is a redirect: set `redirect`",
};

/** The name that a response gives its stream. */
export function nameIn({ headers }: Response): string | undefined {
  return headers.get("x-stream-id") ?? undefined;
}

/** Whether there is no such stream, or no longer. */
export function isGone({ status }: Response): boolean {
  return status === 404 || status === 410;
}

/** Why a response of 200 cannot be read; `undefined` if it can. */
export function faultOf(
  response: Response,
  mediaType: string,
  streamId: string | undefined,
): string | undefined {
  // Servers may write it in capitals.
  if (!new RegExp(mediaType, "i").test(response.headers.get("content-type")!)) {
    return "no_event_stream";
  }
  if (!response.body?.getReader) return "no_body";
  const isOther = streamId !== undefined && (nameIn(response) ?? streamId) !== streamId;
  return isOther ? "other_stream" : undefined;
}

/** A time in ms that the server tells of itself, as `heartbeat`; nothing if that is malformed. */
export function settingOf({ headers }: Response, name: string): number | undefined {
  // Of no header it reads "null", which is no setting.
  const setting = new RegExp(`(?:^|,) *${name}=(\\d{1,6}) *(?:,|$)`);
  return Number(setting.exec(headers.get("x-stream-settings")!)?.[1]) || undefined;
}

/** The wait that the server asks for, in ms; 0 if it asks for none. */
export function retryAfterMsOf({ headers }: Response): number {
  const after = headers.get("retry-after")!;
  // A number of seconds, or a date.
  return Number(after) * 1000 || Date.parse(after) - Date.now() || 0;
}
