/**
 * The server entry: `bun lib/server.ts`, `node lib/server.ts` and `deno serve lib/server.ts` start it,
 * and another program can import it and serve its default export.
 */
import { type Address, runtimeName } from "./server/listen.ts";
import { commandLine, createEntry, type Entry, isMain, serve } from "./server/program.ts";

const main = isMain(import.meta);

// Deno serves the default export itself. Bun would too, but without reporting its address. So the
// server is started here, and what is exported then has no `fetch` that Bun would serve again.
const served: Entry | Address = main && runtimeName !== "deno"
  ? await serve(runtimeName, commandLine())
  : await createEntry(
    runtimeName === "deno" ? "deno serve" : runtimeName,
    // The flags of another program are its own.
    main ? commandLine() : [],
  );
export default served;
