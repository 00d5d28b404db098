/** Stands for Lambda: gives its handler the events and the stream that a function URL does. */
import { createServer } from "node:http";

globalThis.awslambda = {
  streamifyResponse: (handler) => handler,
  HttpResponseStream: {
    from(stream, { statusCode, headers }) {
      stream.writeHead(statusCode, headers);
      return stream;
    },
  },
};
const { handler } = await import("./lambda.js");

createServer(async (request, response) => {
  const [rawPath, rawQueryString = ""] = request.url.split("?");
  let body = "";
  for await (const data of request.setEncoding("utf8")) body += data;
  await handler({
    rawPath,
    rawQueryString,
    headers: request.headers,
    requestContext: {
      domainName: "localhost",
      http: { method: request.method },
    },
    ...body === "" ? {} : { body, isBase64Encoded: false },
  }, response);
}).listen(process.env.PORT);
