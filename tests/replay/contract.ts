/**
 * The rules of a replay log, written once and run against each implementation: through the interface,
 * `sse`, `resume` and `stop` alone, and with patience, for a log may be at the other end of a wire.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { boundsRules } from "./contract/bounds.ts";
import { departuresRules } from "./contract/departures.ts";
import { eventsRules } from "./contract/events.ts";
import { failuresRules } from "./contract/failures.ts";
import { namesRules } from "./contract/names.ts";
import { ownersRules } from "./contract/owners.ts";
import { paceRules } from "./contract/pace.ts";
import { positionsRules } from "./contract/positions.ts";
import { readingRules } from "./contract/reading.ts";
import { stoppingRules } from "./contract/stopping.ts";
import { tailRules } from "./contract/tail.ts";
import {
  type Abilities,
  type Limits,
  type Made,
  PATIENCE_MS,
  type RuleOptions,
  Scene,
  turn,
} from "./contract/rule.ts";
import { tried } from "../support/timing.ts";

export type { Limits, Made };

/** Runs every rule against the logs that `makeLog` makes. */
export function contract(
  name: string,
  makeLog: (limits: Limits) => Made | Promise<Made>,
  abilities: Abilities,
): void {
  function rule(
    title: string,
    run: (scene: Scene) => Promise<void>,
    { isTimed = false, ...limits }: RuleOptions = {},
    skip = false,
  ): void {
    const follow = async () => {
      const unhandled: unknown[] = [];
      const note = (error: unknown) => void unhandled.push(error);
      process.on("unhandledRejection", note);
      const made = await makeLog(limits);
      const scene = new Scene(made);
      try {
        await run(scene);
        await scene.close();
        await turn();
        assert.deepEqual(unhandled, []);
      } finally {
        scene.leave();
        await made.close();
        process.off("unhandledRejection", note);
      }
    };
    test(
      `${name}: ${title}`,
      { skip, timeout: 6 * PATIENCE_MS },
      () => isTimed ? tried(`${name}: ${title}`, follow) : follow(),
    );
  }

  eventsRules(rule);
  readingRules(rule);
  positionsRules(rule);
  tailRules(rule);
  ownersRules(rule);
  namesRules(rule);
  stoppingRules(rule);
  failuresRules(rule);
  departuresRules(rule);
  paceRules(rule);
  boundsRules(rule, abilities);
}
