/** `MemoryLog`: the rules of every log, and what is its own: its limits and what it counts. */
import { MemoryLog } from "../../mod.ts";
import { contract } from "./contract.ts";

contract("MemoryLog", (limits) => {
  const log = new MemoryLog(limits);
  return { log, elsewhere: log, close: () => {} };
}, { limitedInAll: true });
