import { NestFactory } from "@nestjs/core";
import { sse } from "spillway";
import { toNodeListener } from "spillway/node";
import { AppModule } from "./app.module.js"; // your own
import { model, options } from "./model.js"; // your own

const app = await NestFactory.create(AppModule);
app.use("/ask", toNodeListener((request) => sse(request, model, options)));
await app.listen(process.env.PORT);
