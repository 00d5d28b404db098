/** The queries that `docs/metrics.md` and the dashboard promise to work. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./child.ts";

interface Dashboard {
  panels: { title: string; targets: { expr: string }[] }[];
}

/** The text of the page. */
export const page: string = readFileSync(join(root, "docs/metrics.md"), "utf8");

const dashboard: Dashboard = JSON.parse(
  readFileSync(join(root, "docs/grafana_dashboard.json"), "utf8"),
);

/** The queries of the page. */
export const pageQueries: readonly string[] = [...page.matchAll(/^```promql\n([^]*?)\n```$/gm)]
  .map(([, query]) => query!);

/** The configuration of Prometheus on the page. */
export const pageConfig: string = /^```yaml\n([^]*?)^```$/m.exec(page)![1]!;

/** The queries of the dashboard. */
export const dashboardQueries: readonly string[] = dashboard.panels.flatMap(({ targets }) =>
  targets.map(({ expr }) => expr)
);
