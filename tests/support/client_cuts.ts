/** How `connect` reads what is cut, wherever that is. Separate from the tests, which differ in what is between. */
import process from "node:process";
import { connect } from "../../lib/client.ts";
import type { CutScene } from "./cutting_proxy.ts";
import { QUICK } from "./wpt.ts";

/** How many answers are cut: few unless more are asked for. */
export const CLIENT_CUTS: number = Number(process.env["CUTS"] ?? 20);

/** How long that may take, in ms. */
export const CLIENT_CUTS_MS: number = 30_000 + CLIENT_CUTS * 200;

/** Three heartbeats of the scene are too short a time on a clock that runs fast. */
const STALL_MS = 600_000;

/** Reads by POST alone, which is sent again. */
export async function readByPost(scene: CutScene, url: string): Promise<void> {
  await scene.run((query) => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ query });
    return connect(`${url}/streaming`, {
      method: "POST",
      headers,
      body,
      clock: QUICK,
      stallMs: STALL_MS,
    }).text();
  });
}

/** Reads a chat completion, whose rest is at the stream's own address. */
export async function readByAddress(scene: CutScene, url: string): Promise<void> {
  await scene.run((query) => {
    const messages = [{ role: "user", content: query }];
    return connect(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "spillway", messages, stream: true }),
      format: "openai",
      streamUrl: (id) => `${url}/streaming/${id}`,
      clock: QUICK,
      stallMs: STALL_MS,
    }).text();
  });
}
