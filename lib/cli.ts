#!/usr/bin/env node
/**
 * The command `spillway`: starts the server, on whichever runtime runs this file, or runs `doctor`.
 * Separate from the server entry, which `deno serve` starts: that one leaves listening to Deno.
 */
import { doctor } from "./doctor.ts";
import { commandLine, endWith, hasColours, serve } from "./server/program.ts";
import { VERSION } from "./server/version.ts";

const [command, ...args] = commandLine();
if (command === "doctor") {
  const { log: print, error: printError } = console;
  endWith(await doctor(args, { print, printError, colour: hasColours() }));
} else if (command === "--version") {
  console.log(VERSION);
} else {
  await serve("spillway", commandLine());
}
