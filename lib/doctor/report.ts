/** The diagnosis for people: a picture of the arrivals, a verdict, a line to change. */
import { printable } from "../printable.ts";
import type { Diagnosis, Progress } from "./examination.ts";
import { type Measured, seconds } from "./findings.ts";
import { tokensOf } from "./spacing.ts";

/** Where the diagnosis is printed. */
export interface Paper {
  /** Prints a text, which comes without its last line feed. */
  readonly print: (text: string) => void;
  /** Prints what was wrong with the command line. */
  readonly printError: (text: string) => void;
  /** Whether it may be coloured. */
  readonly colour: boolean;
}

const COLUMNS = 40;
const BARS = "▁▂▃▄▅▆▇█";
const COLOURS = { good: 32, culprit: 31, unknown: 33 };

/** Prints each measurement as it comes. */
export function progressOn({ print }: Paper): Progress {
  const row = (name: string, text: string) => print(`${name.padEnd(13)}${text}`);
  return {
    tokens(measured) {
      const { tokens, arrivals, heldMs } = measured.spacing;
      const held = heldMs === undefined ? "" : `, held up to ${seconds(heldMs)}`;
      const end = seconds(measured.observation.endMs);
      row("tokens", `${picture(measured)} ${tokens} in ${arrivals} arrivals, ${end}${held}`);
    },
    silence(borneMs, triedMs) {
      row("silence", `${borneMs < triedMs ? "cut after" : "borne for"} ${seconds(borneMs)}`);
    },
    connections: (served, tried) => row("connections", `${served} of ${tried} at once`),
  };
}

/** Prints what was found. */
export function printDiagnosis(diagnosis: Diagnosis, { print, colour }: Paper): void {
  const { verdict, findings, notes, reason } = diagnosis;
  const paint = (text: string) => colour ? `\x1b[${COLOURS[verdict]}m${text}\x1b[0m` : text;
  print("");
  if (verdict === "good") print(paint("Good: tokens arrive one by one."));
  if (verdict === "unknown") print(paint(`Not judged: ${printable(reason ?? "")}.`));
  for (const { verdict, change } of findings) {
    print(paint(printable(verdict)));
    print(`  ${printable(change)}`);
  }
  for (const note of notes) print(`Note: ${printable(note)}`);
}

/** When tokens arrived, from the request to the end: the higher a bar, the more of them. */
function picture({ observation }: Measured): string {
  const columns = new Array<number>(COLUMNS).fill(0);
  for (const { atMs } of tokensOf(observation)) {
    const column = Math.floor(atMs / observation.endMs * COLUMNS);
    columns[Math.min(COLUMNS - 1, column)]!++;
  }
  // One token alone is a low bar.
  const most = Math.max(...columns, 4);
  return columns.map((count) => count === 0 ? "·" : BARS[Math.ceil(count / most * BARS.length) - 1])
    .join("");
}
