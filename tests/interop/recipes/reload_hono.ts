import { Hono } from "hono";
import { MemoryLog, resume, sse, stop } from "spillway";

async function* model(query: string, signal: AbortSignal) { // your own
  for (const token of ["You ", "asked: ", query]) if (!signal.aborted) yield token;
}
const log = new MemoryLog();
const app = new Hono();
app.post("/ask", async ({ req }) => {
  const query = await req.text();
  return sse(req.raw, ({ signal }) => model(query, signal), { log });
});
app.get("/ask/:id", ({ req }) => resume(req.raw, { log, streamId: req.param("id") }));
app.delete("/ask/:id", async ({ req }) => {
  const stopped = await stop({ log, streamId: req.param("id") });
  return new Response(null, { status: stopped ? 204 : 404 });
});
export default app;
