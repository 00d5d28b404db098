/** `connect()` through responses that are cut at any byte: the text is exact, and made once. */
import { test } from "node:test";
import {
  CLIENT_CUTS,
  CLIENT_CUTS_MS as timeout,
  readByAddress,
  readByPost,
} from "../support/client_cuts.ts";
import { startCutScene } from "../support/cutting_proxy.ts";

const cuts = CLIENT_CUTS;

test(`connect() reads through ${cuts} cuts by POST, exactly and of one generation`, {
  timeout,
}, async () => {
  const scene = await startCutScene(11, { sparesFirst: "event", cuts });
  try {
    await readByPost(scene, scene.cutter.url);
  } finally {
    await scene.close();
  }
});

test(
  `connect() reads through ${cuts} cuts at the stream's address, exactly and of one generation`,
  {
    timeout,
  },
  async () => {
    const scene = await startCutScene(12, { sparesFirst: "event", cuts });
    try {
      await readByAddress(scene, scene.cutter.url);
    } finally {
      await scene.close();
    }
  },
);
