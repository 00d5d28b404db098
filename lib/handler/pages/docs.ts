/** `GET /docs`: the reference, drawn from `/openapi.json` by the browser. Its sources are in `src/docs/`. */
import { DOCS } from "./generated.ts";
import { createPage, type Page } from "./page.ts";

/** The page. */
export const docsPage: Page = createPage(DOCS);
