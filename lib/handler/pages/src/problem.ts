/** What went wrong, in the words of whichever API said it. */

/** As much of an error as is read. */
export interface Problem {
  title?: string | undefined;
  detail?: string | undefined;
  errors?: { pointer: string; detail: string }[] | undefined;
  /** OpenAI's word for it, Anthropic's and AG-UI's. */
  message?: string | undefined;
  /** The AI SDK's word for it. */
  errorText?: string | undefined;
}

/** What a problem says, line by line. The detail of a broken schema is its first fault. */
export function linesOf(problem: Problem): string[] {
  const { title, message, errorText, detail, errors = [] } = problem;
  const faults = errors.map(({ pointer, detail }) => pointer ? `${pointer}: ${detail}` : detail);
  return [title, message, errorText, ...faults.length > 0 ? faults : [detail]]
    .filter((line) => line !== undefined && line !== "") as string[];
}
