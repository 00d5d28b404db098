/**
 * `npm run test:homes`: every home, one line for each check, with a closing line. The words behind it
 * choose homes by name.
 */
import process from "node:process";
import { startHome } from "./support/home.mjs";
import { LONG, QUICK } from "./support/homes.mjs";
import { CHECKS, judge } from "./support/judge.mjs";
import { installPackage } from "./support/package.mjs";
import { isThere, PROXIES, startProxy } from "./support/proxy.mjs";

const words = process.argv.slice(2);
const homes = [...QUICK, ...LONG, ...PROXIES]
  .filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));

installPackage();
let passed = 0;
let failed = 0;
for (const home of homes) {
  if (home.proxy !== undefined && !isThere(home)) {
    console.log(`       ${home.name}: skipped, this machine does not have it`);
    continue;
  }
  const begun = Date.now();
  for (const [check, error] of await resultsOf(home)) {
    console.log(
      `${error === undefined ? "ok    " : "FAILED"} ${home.name}: ${check}`,
    );
    if (error === undefined) passed++;
    else failed++;
    if (error !== undefined) {
      console.log(`         ${error.message.replaceAll("\n", "\n         ")}`);
    }
  }
  console.log(
    `       ${home.name}: ${((Date.now() - begun) / 1000).toFixed(1)} s`,
  );
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

async function resultsOf(home) {
  let running;
  try {
    running = await (home.proxy === undefined ? startHome(home) : startProxy(home));
    return await judge(running);
  } catch (error) {
    return running === undefined
      ? [["it starts", error]]
      : Object.keys(CHECKS).map((check) => [check, error]);
  } finally {
    await running?.stop();
  }
}
