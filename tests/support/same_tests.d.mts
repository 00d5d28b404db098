type Runtime = "Bun" | "Deno" | "Node";
export function testsOf(runtime: Runtime, output: string): Map<string, boolean>;
export function differences(
  outputs: Partial<Record<Runtime, string>>,
): string[];
