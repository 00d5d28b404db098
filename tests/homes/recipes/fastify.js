import fastify from "fastify";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

const app = fastify();
app.all("/ask", (request, reply) => {
  const left = new AbortController();
  reply.raw.once("close", () => left.abort());
  const { method, headers, body } = request;
  return sse(
    new Request(new URL(request.url, "http://localhost"), {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: left.signal,
    }),
    model,
    options,
  );
});
app.listen({ port: Number(process.env.PORT) });
