/** What the entry can be told: flags and variables, their order, their bounds, and the help. */
import assert from "node:assert/strict";
import test from "node:test";
import { help, readSettings, type Settings, type StartedBy } from "../../lib/server/settings.ts";

const DEFAULTS: Settings = {
  port: 8000,
  hostname: "127.0.0.1",
  workers: 1,
  log: "pretty",
  openaiBaseUrl: "",
  openaiModel: "",
  openaiApiKey: "",
  openaiHeadTimeoutMs: 600_000,
  openaiFirstTokenTimeoutMs: 600_000,
  openaiTokenTimeoutMs: 60_000,
  openaiAnswerTimeoutMs: 3_600_000,
  openaiRetries: 0,
  openaiFields: undefined,
  openaiStreamOptions: true,
  openaiFallback: "",
  openaiFallbackTimeoutMs: 60_000,
  tokenDelayMs: 100,
  heartbeatMs: 5000,
  commitAfterMs: 250,
  maxStreams: 10_000,
  maxBodyBytes: 1_048_576,
  maxChatBodyBytes: 33_554_432,
  disconnectGraceMs: 10_000,
  keepMs: 300_000,
  drainDelayMs: 0,
  drainTimeoutMs: 25_000,
  replayFile: "",
  redisUrl: "",
  redisPrefix: "spillway:",
  apiKeys: [],
  allowedHosts: [],
  corsOrigins: [],
  corsCredentials: false,
};

function read(args: string[], environment = {}, startedBy: StartedBy = "bun") {
  return readSettings(args, environment, startedBy);
}

test("readSettings() without anything answers the defaults", () => {
  assert.deepEqual(read([]), DEFAULTS);
  assert.deepEqual(read([], { PORT: "", LOG: "", HEARTBEAT_MS: "", UNKNOWN: "1" }), DEFAULTS);
});

/** A value for each setting that has a flag, as text and as it is read. */
const GIVEN: Record<string, [text: string, name: keyof Settings, value: unknown]> = {
  PORT: ["0", "port", 0],
  HOST: ["::1", "hostname", "::1"],
  WORKERS: ["auto", "workers", "auto"],
  LOG: ["json", "log", "json"],
  OPENAI_BASE_URL: ["http://localhost/v1", "openaiBaseUrl", "http://localhost/v1"],
  OPENAI_MODEL: ["m", "openaiModel", "m"],
  OPENAI_HEAD_TIMEOUT_MS: ["1", "openaiHeadTimeoutMs", 1],
  OPENAI_FIRST_TOKEN_TIMEOUT_MS: ["2", "openaiFirstTokenTimeoutMs", 2],
  OPENAI_TOKEN_TIMEOUT_MS: ["3", "openaiTokenTimeoutMs", 3],
  OPENAI_ANSWER_TIMEOUT_MS: ["4", "openaiAnswerTimeoutMs", 4],
  OPENAI_FALLBACK_TIMEOUT_MS: ["5", "openaiFallbackTimeoutMs", 5],
  OPENAI_RETRIES: ["10", "openaiRetries", 10],
  OPENAI_FIELDS: ["seed, top_p", "openaiFields", ["seed", "top_p"]],
  OPENAI_STREAM_OPTIONS: ["off", "openaiStreamOptions", false],
  OPENAI_FALLBACK: ["a.json", "openaiFallback", "a.json"],
  MAX_BODY_BYTES: ["33554432", "maxBodyBytes", 33_554_432],
  MAX_CHAT_BODY_BYTES: ["1048576", "maxChatBodyBytes", 1_048_576],
  TOKEN_DELAY_MS: ["0", "tokenDelayMs", 0],
  HEARTBEAT_MS: ["0", "heartbeatMs", 0],
  COMMIT_AFTER_MS: ["5000", "commitAfterMs", 5000],
  MAX_STREAMS: ["1", "maxStreams", 1],
  DISCONNECT_GRACE_MS: ["0", "disconnectGraceMs", 0],
  KEEP_MS: ["0", "keepMs", 0],
  ALLOWED_HOSTS: [" a.example, ,b.example", "allowedHosts", ["a.example", "b.example"]],
  CORS_ORIGINS: ["https://a.example,app://b", "corsOrigins", ["https://a.example", "app://b"]],
  CORS_CREDENTIALS: ["on", "corsCredentials", true],
  DRAIN_DELAY_MS: ["5000", "drainDelayMs", 5000],
};

for (const [variable, [text, name, value]] of Object.entries(GIVEN)) {
  const flag = `--${variable.toLowerCase().replaceAll("_", "-")}`;
  test(`readSettings() takes ${variable} and ${flag} alike, and the flag first`, () => {
    const expected = { ...DEFAULTS, [name]: value };
    assert.deepEqual(read([], { [variable]: text }), expected);
    assert.deepEqual(read([flag, text]), expected);
    assert.deepEqual(read([`${flag}=${text}`]), expected);
    assert.deepEqual(read([flag, text], { [variable]: "nonsense" }), expected);
  });
}

test("readSettings() takes keys from the environment alone, and never repeats one", () => {
  const keys = { OPENAI_API_KEY: "sk-0123", API_KEYS: " a-key ,,another," };
  const { openaiApiKey, apiKeys } = read([], keys)!;
  assert.deepEqual([openaiApiKey, apiKeys], ["sk-0123", ["a-key", "another"]]);
  const message = "--api-keys is no flag, because others could read it; set API_KEYS";
  for (const args of [["--api-keys", "sk-0123"], ["--api-keys=sk-0123"], ["--api-keys"]]) {
    assert.throws(() => read(args), { name: "RangeError", message });
  }
  assert.throws(
    () => read(["--openai-api-key=sk-0123"]),
    /^RangeError: --openai-api-key is no flag/,
  );
  for (const wrong of [",", " ", "sk-0123,two words", "sk-0123\u3042"]) {
    assert.throws(() => read([], { API_KEYS: wrong }), {
      message: "API_KEYS is not keys of visible ASCII with commas between them",
    });
  }
});

test("readSettings() names what is wrong, in one line", () => {
  const wrong: [args: string[], environment: Record<string, string>, message: string][] = [
    [[], { PORT: "abc" }, 'PORT is "abc", not an integer from 0 to 65535'],
    [[], { PORT: "65536" }, 'PORT is "65536", not an integer from 0 to 65535'],
    [[], { PORT: "1e3" }, 'PORT is "1e3", not an integer from 0 to 65535'],
    [[], { WORKERS: "0" }, 'WORKERS is "0", not auto or an integer from 1 to 256'],
    [["--port", "-1"], {}, '--port is "-1", not an integer from 0 to 65535'],
    [[], { HEARTBEAT_MS: "99" }, 'HEARTBEAT_MS is "99", not 0 or an integer from 100 to 60000'],
    [[], { COMMIT_AFTER_MS: "-0" }, 'COMMIT_AFTER_MS is "-0", not an integer from 0 to 5000'],
    [[], { LOG: "xml" }, 'LOG is "xml", not json, pretty or off'],
    [[], { OPENAI_STREAM_OPTIONS: "no" }, 'OPENAI_STREAM_OPTIONS is "no", not on or off'],
    [[], { OPENAI_RETRIES: "11" }, 'OPENAI_RETRIES is "11", not an integer from 0 to 10'],
    [
      [],
      { OPENAI_FIELDS: "a b" },
      'OPENAI_FIELDS is "a b", not none, or names of fields with commas between them',
    ],
    [
      [],
      { OPENAI_HEAD_TIMEOUT_MS: "0" },
      'OPENAI_HEAD_TIMEOUT_MS is "0", not an integer from 1 to 2147483647',
    ],
    [["--log=a\nb"], {}, '--log is "a\\nb", not json, pretty or off'],
    [["--prot", "1"], {}, '"--prot" is no flag here; --help lists them'],
    [["8000"], {}, '"8000" is no flag here; --help lists them'],
    [["-p", "8000"], {}, '"-p" is no flag here; --help lists them'],
    [["--port"], {}, "--port has no value"],
    ...["https://a.example/", "a.example", "*,null", "https://a b", ","].map((
      origins,
    ): [string[], Record<string, string>, string] => [
      [],
      { CORS_ORIGINS: origins },
      `CORS_ORIGINS is "${origins}", not origins like https://example.com with commas between them`,
    ]),
    ...["a b", "a.example:80", "http://a.example", "A.example", "*", "a/b", "[::", ","].map((
      hosts,
    ): [string[], Record<string, string>, string] => [
      [],
      { ALLOWED_HOSTS: hosts },
      `ALLOWED_HOSTS is "${hosts}", not host names like chat.example.com with commas between them`,
    ]),
    ...["nonsense", "http://a", "redis:", "redis://", "redis://:secret@a:99999", "redis://a b"].map(
      (
        url,
      ): [string[], Record<string, string>, string] => [
        [],
        { REDIS_URL: url },
        "REDIS_URL is not like redis://host:6379",
      ],
    ),
  ];
  for (const [args, environment, message] of wrong) {
    assert.throws(() => read(args, environment), { name: "RangeError", message });
  }
});

test("readSettings() takes none for no field at all", () => {
  assert.deepEqual(read([], { OPENAI_FIELDS: "none" })?.openaiFields, []);
});

test("readSettings() answers nothing where the help is asked for, whatever else there is", () => {
  assert.equal(read(["--help"]), undefined);
  assert.equal(read(["--port", "1", "-h", "--nonsense"], { PORT: "abc" }), undefined);
});

test("where it listens is no flag of ours under deno serve, which says where it goes", () => {
  const place = (flag: string, port: string, host: string) => ({
    name: "RangeError",
    message:
      `${flag} stands before the file: deno serve -A --port ${port} --host ${host} lib/server.ts`,
  });
  for (const args of [["--port", "9000"], ["--port=9000"]]) {
    assert.throws(() => read(args, {}, "deno serve"), place("--port", "9000", "127.0.0.1"));
  }
  assert.throws(() => read(["--host"], {}, "deno serve"), place("--host", "8000", "127.0.0.1"));
  assert.throws(
    () => read(["--port", "a\nb"], {}, "deno serve"),
    place("--port", "8000", "127.0.0.1"),
  );
  assert.equal(read(["--log", "off"], {}, "deno serve")?.log, "off");
});

test("help() lists every flag, its variable and its default, in lines that fit", () => {
  const text = help("bun");
  for (const variable of [...Object.keys(GIVEN), "OPENAI_API_KEY", "API_KEYS"]) {
    assert(text.includes(variable));
  }
  for (const flag of ["--port NUMBER", "--log json|pretty|off", "--cors-origins ORIGIN,..."]) {
    assert(text.includes(flag), flag);
  }
  assert.match(text, /--max-streams NUMBER +MAX_STREAMS +10000 /);
  assert.doesNotMatch(text, /openai-api-key|--api-keys/);
  for (const line of text.split("\n")) assert(line.length <= 120, line);
});

test("readSettings() takes hosts, origins and a Redis of every kind that there is", () => {
  const given = {
    ALLOWED_HOSTS: "localhost,[::1],xn--bcher-kva.example,10.0.0.1",
    CORS_ORIGINS: "*,http://localhost:3000",
  };
  const { allowedHosts, corsOrigins } = read([], given)!;
  assert.deepEqual([allowedHosts.join(), corsOrigins.join()], Object.values(given));
  for (const url of ["redis://localhost", "rediss://me:secret@a.example:6380/1", "valkey://a"]) {
    assert.equal(read([], { REDIS_URL: url })?.redisUrl, url);
  }
});

test("help() begins with where it listens, what it relays and who may ask", () => {
  const variables = [...help("bun").matchAll(/(?<= )[A-Z]+(?:_[A-Z]+)*(?= {2,})/g)]
    .map(([name]) => name).filter((name) =>
      !/^(NUMBER|MS|URL|NAME|ADDRESS|FILE|TEXT|KEY)$/.test(name)
    );
  assert.deepEqual(variables.slice(0, 7), [
    "PORT",
    "HOST",
    "OPENAI_BASE_URL",
    "OPENAI_MODEL",
    "OPENAI_API_KEY",
    "API_KEYS",
    "ALLOWED_HOSTS",
  ]);
});

test("help() names the command that was typed", () => {
  assert.match(help("bun"), /^ {2}bun run server \[flags\]$/m);
  assert.match(help("node"), /^ {2}node lib\/server\.ts \[flags\]$/m);
  assert.match(help("spillway"), /^ {2}npx spillway \[flags\]$/m);
  assert.match(help("spillway"), /--port NUMBER/);
});

test("help() under deno serve shows where its own flags go, and not ours", () => {
  const text = help("deno serve");
  assert.match(text, /deno serve -A --port 8000 --host 127\.0\.0\.1 lib\/server\.ts \[flags\]/);
  assert.doesNotMatch(text, /--port NUMBER|--host ADDRESS| PORT | HOST /);
  assert(text.includes("--log"));
});
