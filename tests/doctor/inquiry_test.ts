/** The command line of `spillway doctor`: what is asked by default, and what is wrong in one line. */
import assert from "node:assert/strict";
import test from "node:test";
import { doctor } from "../../lib/doctor.ts";
import { readInquiry } from "../../lib/doctor/inquiry.ts";

test("readInquiry() asks the server's own route where the URL has no path", () => {
  const { url, method, body } = readInquiry(["http://a.example"])!;
  assert.deepEqual([url.href, method], ["http://a.example/streaming", "POST"]);
  assert.match(body!, /^{"query":"/);
  const other = readInquiry(["https://a.example/events?room=1"])!;
  assert.deepEqual(
    [other.url.href, other.method, other.body],
    ["https://a.example/events?room=1", "GET", undefined],
  );
});

test("readInquiry() takes method, headers and body", () => {
  const flags = ["--header", "X-Key:  a b ", "--header=Accept: x/y", "--body", "text"];
  const { method, headers, body, isPaced } = readInquiry(["http://a.example/x", ...flags])!;
  assert.deepEqual([method, body, isPaced], ["POST", "text", false]);
  assert.deepEqual(headers, { "x-key": "a b", accept: "x/y" });
  assert.equal(readInquiry(["http://a.example/x", "--method", "put"])!.method, "PUT");
});

test("readInquiry() has bounds, and a preset for each", () => {
  const preset = readInquiry(["http://a.example"])!;
  assert.deepEqual(
    [preset.silenceMs, preset.connections, preset.timeoutMs, preset.json],
    [undefined, 7, 60_000, false],
  );
  const flags = ["--silence-ms", "0", "--connections", "100", "--timeout-ms", "600000", "--json"];
  const given = readInquiry(["http://a.example", ...flags])!;
  assert.deepEqual(
    [given.silenceMs, given.connections, given.timeoutMs, given.json],
    [0, 100, 600_000, true],
  );
});

test("doctor names what is wrong with its command line in one line, and exits with 2", async () => {
  for (
    const [args, named] of [
      [[], "the URL is missing"],
      [["a.example"], "the URL is missing"],
      [["ftp://a.example"], "the URL is missing"],
      [["http://a.example", "http://b.example"], "more than one URL"],
      [["http://a.example", "--nope"], "--nope"],
      [["http://a.example", "--header", "secret"], "--header is not like NAME:VALUE"],
      [["http://a.example", "--header", "X-A: 😀"], "--header X-A has characters"],
      [["http://a.example", "--header", "X-A: a\0b"], "--header X-A has characters"],
      [["http://a.example", "--method", "GE T"], '--method is "GE T", no name of a method'],
      [["http://a.example", "--method", ""], '--method is ""'],
      [
        ["http://a.example", "--connections", "0"],
        '--connections is "0", not an integer from 1 to',
      ],
      [["http://a.example", "--silence-ms", "1.5"], "--silence-ms"],
      [["http://a.example", "--timeout-ms", "x"], "--timeout-ms"],
      [["http://a.example", "--paced", "--body", "[]"], "--body is not a JSON object"],
      [["http://a.example", "--paced", "--body", "{"], "--body is not a JSON object"],
    ] as const
  ) {
    const lines: string[] = [];
    const printError = (line: string) => void lines.push(line);
    const print = () => assert.fail("printed");
    assert.equal(await doctor(args, { print, printError, colour: false }), 2);
    assert.equal(lines.length, 1);
    const [line] = lines as [string];
    assert.ok(line.startsWith("spillway doctor: ") && line.includes(named), line);
    assert.ok(!lines[0]!.includes("secret"));
  }
});

test("doctor shows no credentials of the address", async () => {
  // Port 9 is that of nobody.
  const url = "http://user:secret@127.0.0.1:9/streaming";
  for (const flags of [[], ["--json"]]) {
    const lines: string[] = [];
    const print = (line: string) => void lines.push(line);
    assert.equal(await doctor([url, ...flags], { print, printError: print, colour: false }), 2);
    assert.match(lines.join("\n"), /http:\/\/127\.0\.0\.1:9\/streaming/);
    assert.doesNotMatch(lines.join("\n"), /user|secret/);
  }
});

test("doctor --help names each flag in lines that fit", async () => {
  const lines: string[] = [];
  const print = (text: string) => void lines.push(...text.split("\n"));
  assert.equal(await doctor(["--help"], { print, printError: print, colour: false }), 0);
  assert.deepEqual(lines.filter(({ length }) => length > 100), []);
  const flags = "paced method header body silence-ms connections timeout-ms json".split(" ");
  for (const flag of flags) assert.ok(lines.some((line) => line.startsWith(`  --${flag} `)), flag);
});
