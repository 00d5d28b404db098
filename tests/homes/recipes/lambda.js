import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { sse } from "spillway";
import { model, options } from "./model.js"; // your own

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const { rawPath, rawQueryString, headers, body, isBase64Encoded, requestContext } = event;
  const url = `https://${requestContext.domainName}${rawPath}?${rawQueryString}`;
  const request = new Request(url, {
    method: requestContext.http.method,
    headers,
    body: body && Buffer.from(body, isBase64Encoded ? "base64" : "utf8"),
  });
  const response = await sse(request, model, options);
  const out = awslambda.HttpResponseStream.from(stream, {
    statusCode: response.status,
    headers: Object.fromEntries(response.headers),
  });
  // Rejects when the client has left; `sse` has been told by then.
  await pipeline(response.body ? Readable.fromWeb(response.body) : [], out).catch(() => {});
});
