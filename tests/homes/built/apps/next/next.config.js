import { fileURLToPath } from "node:url";

// The packages stand above this folder.
const root = fileURLToPath(new URL("../..", import.meta.url));
export default { turbopack: { root }, outputFileTracingRoot: root };
