/** The benchmark's inputs are what they claim: seeded, fresh, short, and of several scripts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Corpus, SEED, text, tokens } from "../../bench/inputs.ts";

test("tokens() are one to eight characters without line breaks", () => {
  for (const token of tokens(5000)) {
    const characters = [...token].length;
    assert.ok(characters >= 1 && characters <= 8, JSON.stringify(token));
    assert.doesNotMatch(token, /[\r\n]/);
    assert.ok(token.isWellFormed());
  }
});

test("tokens() hold Latin, Japanese and emoji", () => {
  const all = text(5000);
  for (const script of [/[a-z]{3}/, /[ぁ-んァ-ヶ一-龠]/, /\p{Extended_Pictographic}/u]) {
    assert.match(all, script);
  }
});

test("tokens() are the same for the same seed and others for another", () => {
  assert.deepEqual(tokens(1000, SEED), tokens(1000, SEED));
  assert.notDeepEqual(tokens(1000, SEED), tokens(1000, SEED + 1));
});

test("text() is the tokens joined, and a Corpus wraps around", () => {
  assert.equal(text(1000), tokens(1000).join(""));
  const corpus = new Corpus(10, SEED);
  assert.equal(corpus.token(13), corpus.token(3));
});
