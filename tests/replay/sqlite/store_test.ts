/** `SqliteStore`: the contract of a store, and what is a file's own. */
import test from "node:test";
import { SqliteStore } from "../../../lib/replay/sqlite/store.ts";
import { eventStoreContract } from "../../../lib/testing.ts";
import { newFile } from "../../support/replay_file.ts";

const shared = newFile();
const makeStore = () => new SqliteStore(shared, { maxFileBytes: Infinity, clock: undefined });
for (const { name, run } of eventStoreContract(makeStore)) test(`a file: ${name}`, run);
