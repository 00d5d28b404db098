/**
 * `spillway doctor URL`: asks for a stream, measures when its tokens arrive, and names what holds them
 * back. It reads no environment, and knows a server by its responses alone.
 */
import { type Diagnosis, examine } from "./doctor/examination.ts";
import type { Measured } from "./doctor/findings.ts";
import { DOCTOR_HELP, type Inquiry, readInquiry, shown } from "./doctor/inquiry.ts";
import { type Paper, printDiagnosis, progressOn } from "./doctor/report.ts";

export type { Paper } from "./doctor/report.ts";

const EXIT_CODES = { good: 0, culprit: 1, unknown: 2 };

/** Runs the command with the arguments behind `doctor`. Returns the exit code of the process. */
export async function doctor(args: readonly string[], paper: Paper): Promise<number> {
  let inquiry: Inquiry | undefined;
  try {
    inquiry = readInquiry(args);
  } catch (error) {
    paper.printError(`spillway doctor: ${(error as Error).message}`);
    return EXIT_CODES.unknown;
  }
  if (inquiry === undefined) {
    paper.print(DOCTOR_HELP);
    return EXIT_CODES.good;
  }
  const diagnosis = inquiry.json
    ? await examineForPrograms(inquiry, paper)
    : await examineForPeople(inquiry, paper);
  return EXIT_CODES[diagnosis.verdict];
}

async function examineForPeople(inquiry: Inquiry, paper: Paper): Promise<Diagnosis> {
  paper.print(`${inquiry.method} ${shown(inquiry.url)}\n`);
  const diagnosis = await examine(inquiry, progressOn(paper));
  printDiagnosis(diagnosis, paper);
  return diagnosis;
}

async function examineForPrograms(inquiry: Inquiry, { print }: Paper): Promise<Diagnosis> {
  const measured: Record<string, unknown> = {};
  const diagnosis = await examine(inquiry, {
    tokens: ({ spacing, observation }: Measured) => {
      const { firstMs, endMs, headers } = observation;
      measured["tokens"] = { ...spacing, firstMs, endMs, encoding: headers["content-encoding"] };
    },
    silence: (borneMs, triedMs) => void (measured["silence"] = { borneMs, triedMs }),
    connections: (served, tried) => void (measured["connections"] = { served, tried }),
  });
  print(JSON.stringify({ ...diagnosis, url: shown(inquiry.url), measured }, undefined, 2));
  return diagnosis;
}
