/** The version of the package, as `package.json` has it: `scripts/release.ts --write` copies it. */
export const VERSION = "0.2.0";
