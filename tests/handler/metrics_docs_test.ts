/** What is told of the metrics: no name that is not printed, and none untold. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler } from "../../lib/handler.ts";
import { dashboardQueries, page, pageQueries } from "../support/metrics_docs.ts";

const response = await createHandler({ source: "" })
  .fetch(new Request("http://localhost/metrics"));
const text = await response.text();
const families = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)]
  .map(([, name, type]) => ({ name: name!, type: type! }));

test("the dashboard has the queries of the page, and no other", () => {
  assert(pageQueries.length > 20);
  assert.deepEqual([...dashboardQueries].sort(), [...pageQueries].sort());
});

test("a query names what is printed, and a rate is of a counter", () => {
  const printed = families.flatMap(({ name, type }) =>
    type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
  );
  const gauges = families.filter(({ type }) => type === "gauge").map(({ name }) => name);
  for (const query of pageQueries) {
    const names = query.match(/\b(?:spillway|gen_ai_(?:server|client))_\w+/g)!;
    assert.deepEqual(names.filter((name) => !printed.includes(name)), [], query);
    const rated = [...query.matchAll(/(?:rate|increase)\((\w+)/g)].map(([, name]) => name!);
    assert.deepEqual(rated.filter((name) => gauges.includes(name)), [], query);
  }
});

test("every metric is in a table of the page", () => {
  // A row may name the last part of a name, after one that begins alike.
  const told = page.split("\n").filter((line) => line.startsWith("| `")).flatMap((line) => {
    const names = [...line.split("|")[1]!.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
    const [first] = names;
    return names.map((name) =>
      name.startsWith("_") ? `${first!.replace(/_[a-z]+(_total)?$/, "")}${name}` : name
    );
  });
  const names = families.map(({ name }) => name);
  assert(names.length > 25);
  assert.deepEqual(names.filter((name) => !told.includes(name)), []);
  const stale = told.filter((name) => /^(?:spillway|gen_ai)_/.test(name) && !names.includes(name));
  assert.deepEqual(stale, []);
});
