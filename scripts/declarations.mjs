/**
 * `npm run declarations`: every public name of every entry with its type, as one text. The text is
 * checked in, so that a change of the surface is seen where the change is read; a test compares it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const FILE = `${root}tests/package/declarations.txt`;
const { exports } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
// The compiler of the tests has an interface for programs; the one that builds has none.
const ts = createRequire(`${root}tests/package.json`)("typescript");

/** The text for what stands in `dist/`. */
export function declarations() {
  const entries = Object.entries(exports).filter(([, target]) => target.types);
  const files = entries.map(([, { types }]) =>
    fileURLToPath(new URL(types, new URL("../", import.meta.url)))
  );
  const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, noEmit: true });
  const checker = program.getTypeChecker();
  const printer = ts.createPrinter({ removeComments: true });
  const parts = entries.map(([entry], i) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(files[i]));
    const symbols = checker.getExportsOfModule(module).map((
      symbol,
    ) => [symbol.name, target(symbol)]);
    const texts = symbols.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, symbol]) => {
      const all = symbol.declarations.map((node) => print(node));
      return `// ${name}\n${all.join("\n")}`;
    });
    return `# spillway${entry.slice(1)}\n\n${texts.join("\n\n")}\n`;
  });
  return parts.join("\n");

  function target(symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  }
  function print(node) {
    // A constant's statement holds its `export declare const`.
    const whole = ts.isVariableDeclaration(node) ? node.parent.parent : node;
    return printer.printNode(ts.EmitHint.Unspecified, whole, whole.getSourceFile());
  }
}

/** The text that is checked in. */
export function recorded() {
  return readFileSync(FILE, "utf8");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(FILE, declarations());
