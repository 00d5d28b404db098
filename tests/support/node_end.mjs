/**
 * Loaded into the process of each test file on Node, which ends when nothing is open: what a test that
 * failed has left open must not keep it, for then nobody would learn of the failure.
 */
import process from "node:process";
import { after } from "node:test";

// The runner itself loads this too.
if (process.env.NODE_TEST_CONTEXT !== undefined) {
  after(() => {
    const end = () => {
      // The results go to the runner this way, as fast as it reads.
      if (process.stdout.writableLength > 0) return setTimeout(end, 1000).unref();
      console.error(`Left open: ${process.getActiveResourcesInfo().join(", ")}`);
      process.exit();
    };
    // It runs only where something else keeps the process.
    setTimeout(end, 5000).unref();
  });
}
