/**
 * `connect()` behind nginx, through responses that are cut at any byte on either side of it: the text is
 * exact, and made once.
 */
import { test } from "node:test";
import {
  CLIENT_CUTS,
  CLIENT_CUTS_MS as timeout,
  readByAddress,
  readByPost,
} from "../support/client_cuts.ts";
import { startCutScene } from "../support/cutting_proxy.ts";
import { startNginx } from "../support/nginx.ts";

const cuts = CLIENT_CUTS;

test(`connect() reads through ${cuts} cuts before nginx, exactly and of one generation`, {
  timeout,
}, async () => {
  const scene = await startCutScene(21, { sparesFirst: "event", cuts, through: startNginx });
  try {
    await readByPost(scene, scene.cutter.url);
  } finally {
    await scene.close();
  }
});

test(`connect() reads through ${cuts} cuts behind nginx, exactly and of one generation`, {
  timeout,
}, async () => {
  const scene = await startCutScene(22, { sparesFirst: "event", cuts });
  const nginx = await startNginx(Number(new URL(scene.cutter.url).port));
  try {
    await readByAddress(scene, `http://127.0.0.1:${nginx.port}`);
  } finally {
    await nginx.close();
    await scene.close();
  }
});
