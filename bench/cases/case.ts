/**
 * What a case is: one question, and the runs whose figures answer it. The runner owns rounds, processes and progress;
 * a case only says which subject is asked what.
 */
import type { Job } from "../job.ts";
import type { CaseName, Subject } from "../subjects.ts";

export type Options = { quick: boolean };

/**
 * One subject under one variant: a job for the load generator, one whose `connections` a ladder chooses, or arguments
 * for a subject that measures itself.
 */
export type Run =
  & { subject: Subject; variant: string; env?: Readonly<Record<string, string>> }
  & (
    | { job: Omit<Job, "port" | "pid" | "redisPort" | "pacerPort"> }
    | { ladder: Omit<Job, "port" | "pid" | "redisPort" | "pacerPort" | "connections"> }
    | { args: string[] }
  );

export type Case = {
  name: CaseName;
  question: string;
  runs(subjects: readonly Subject[], options: Options): Run[];
};
