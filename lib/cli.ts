#!/usr/bin/env node
/**
 * The command `spillway`: starts the server, on whichever runtime runs this file. Separate from the
 * server entry, which `deno serve` starts: that one leaves listening to Deno.
 */
import { commandLine, createProgram } from "./server/program.ts";

const program = await createProgram("spillway", commandLine());
await program.listen();
