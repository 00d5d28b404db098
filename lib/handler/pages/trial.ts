/**
 * "Try it" of the reference page: sends an operation's request and shows its stream while it comes,
 * as text, as bytes and as time. It may be stopped, cut off and resumed.
 */

/** A function of the page's script: `trial({ path, method, operation })`, which makes an element. */
export const TRIAL: string = String.raw`
const TUTORIAL = "Streaming response\u306e\u30c6\u30b9\u30c8";
// The stream that was begun last, on whichever operation, is what can be joined and stopped.
let latestId = "";
function begun(id) {
  latestId = id;
  for (const input of document.querySelectorAll(".stream")) input.value = id;
}

// A text that every string fits, and an object with what is required.
function sampleOf(schema, depth = 0) {
  const one = resolve(schema);
  if (one.examples?.length > 0) return one.examples[0];
  if (one.enum) return one.enum[0];
  for (const name of ["default", "const"]) if (name in one) return one[name];
  const part = one.anyOf?.[0] ?? one.oneOf?.[0] ?? one.allOf?.[0];
  if (part && depth < 8) return sampleOf(part, depth + 1);
  const type = [one.type].flat()[0] ?? (one.properties ? "object" : "string");
  if (type === "object") {
    const { required = [], properties = {} } = one;
    const names = depth < 8 ? required.filter((name) => properties[name]) : [];
    return Object.fromEntries(names.map((name) => [name, sampleOf(properties[name], depth + 1)]));
  }
  if (type === "array") return one.minItems > 0 && depth < 8 ? [sampleOf(one.items, depth + 1)] : [];
  if (type === "integer" || type === "number") return one.minimum ?? 1;
  return type === "string" ? TUTORIAL : type === "boolean" ? false : null;
}

// The text in an event, whichever API's it is.
function tokenOf({ type, data }) {
  if (type === "done" || type === "failed") return "";
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return data === "[DONE]" ? "" : data;
  }
  if (typeof value !== "object" || value === null) return data;
  const { token, delta, choices } = value;
  const text = token ?? choices?.[0]?.delta?.content ?? delta?.text ?? (value.type === "text-delta" ? delta : "");
  return typeof text === "string" ? text : "";
}

// A text in pieces, of which the oldest go when there are too many.
function append(parent, text) {
  const { lastChild } = parent;
  if (lastChild instanceof Text && lastChild.length < 4096) lastChild.appendData(text);
  else parent.append(text);
  if (parent.childNodes.length > 64) parent.firstChild.remove();
}

const NONE = "\u2013";
const seconds = (ms) => ms === undefined ? NONE : ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(2) + " s";

function trial({ path, method, operation }) {
  const field = (label, input, more = {}) => h("label", more, h("b", {}, label), input);
  const select = (...options) =>
    h("select", {}, ...options.map((option) => h("option", { value: option }, option || "(none)")));
  const button = (text, act, more = {}) => h("button", { type: "button", ...more, click: act }, text);

  const types = Object.keys(operation.responses[200]?.content ?? {});
  const streaming = types.includes("text/event-stream");
  const parameters = (operation.parameters ?? []).map((parameter) => {
    const { name, schema = {} } = parameter;
    return { ...parameter, input: schema.enum ? select("", ...schema.enum) : h("input", { class: "code", name }) };
  });
  const accept = types.length > 1 ? select(...types) : undefined;
  const content = operation.requestBody?.content["application/json"];
  const body = content && h("textarea", { class: "code", spellcheck: "false" });
  if (body) {
    body.value = JSON.stringify(sampleOf(content.schema), undefined, 2);
    body.rows = Math.min(12, body.value.split("\n").length);
  }

  const send = h("button", { class: "main" }, "Send");
  const stop = button("Stop", () => {
    fetch(at("/streaming/" + streamId), { method: "DELETE", headers: keyed({}) })
      .then(({ status }) => say("Stop: " + status), ({ message }) => say(message));
  });
  const cut = button("Cut the network", () => connection.abort());
  const resume = button("Resume", () => {
    const last = lastEventId ? { "Last-Event-ID": lastEventId } : {};
    return go("GET", at("/streaming/" + streamId), keyed({ Accept: "text/event-stream", ...last }));
  });
  const box = (label) => h("pre", { class: label, tabindex: "0", role: "group", "aria-label": label });
  const [text, wire, snippet] = [box("Text"), box("Wire"), box("Snippet")];
  const titled = (title, shown) => h("div", {}, h("h5", {}, title), shown);
  const figures = h("dl", { class: "figures" });
  const chart = $("chart").content.firstElementChild.cloneNode(true);
  const results = h("div", { class: "results", hidden: true },
    figures,
    h("div", { class: "panes" }, streaming ? titled("Text", text) : "", titled(streaming ? "Wire" : "Body", wire)),
    streaming ? titled("Gaps between tokens", chart) : "");

  // One request and what came of it: "idle", then "sending" and "streaming", in the end "cut" or "ended".
  // A cut stream that has a name can be resumed.
  let phase;
  let connection, streamId, lastEventId, status, sentMs, firstMs, lastMs, tookMs, countedMs, tokens, gaps, painting;

  function enter(next) {
    phase = next;
    const open = phase === "sending" || phase === "streaming";
    send.disabled = open;
    stop.disabled = !streamId || phase === "ended";
    cut.disabled = !open;
    resume.disabled = !streamId || phase !== "cut";
    paint();
  }

  function paint() {
    painting = undefined;
    const rate = countedMs > 0 ? (gaps.length / countedMs * 1000).toFixed(1) : NONE;
    const all = streaming
      ? { Status: status, State: phase, "First token": seconds(firstMs), Tokens: tokens, "Tokens per second": rate }
      : { Status: status, Time: seconds(tookMs) };
    figures.replaceChildren(...Object.entries(all).map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    for (const pane of [text, wire]) pane.scrollTop = pane.scrollHeight;
    draw();
  }
  const paintSoon = () => (painting ??= requestAnimationFrame(paint));

  // The latest gaps as bars, the longest of them as high as the chart.
  function draw() {
    const latest = gaps.slice(-150);
    const most = Math.max(...latest, 1);
    const middle = [...latest].sort((a, b) => a - b)[latest.length >> 1];
    const x = (i) => (i + 0.5) / Math.max(latest.length, 40) * 300;
    chart.querySelector("path").setAttribute("d",
      latest.map((gap, i) => "M" + x(i).toFixed(1) + " 60V" + (58 - gap / most * 54).toFixed(1)).join(""));
    const told = latest.length === 0 ? "none yet"
      : "median " + seconds(middle) + ", longest " + seconds(most) + ", the last " + latest.length;
    chart.querySelector("svg").setAttribute("aria-label", "Gaps between tokens: " + told);
    chart.querySelector("figcaption").textContent = told;
  }

  function took(token) {
    if (token === "") return;
    const now = performance.now();
    firstMs ??= now - sentMs;
    if (lastMs !== undefined) {
      gaps.push(now - lastMs);
      countedMs += now - lastMs;
    }
    lastMs = now;
    tokens++;
    append(text, token);
    paintSoon();
  }

  function start() {
    [streamId, lastEventId, status, firstMs, tokens, gaps, countedMs] = ["", "", "\u2026", undefined, 0, [], 0];
    text.replaceChildren();
    wire.replaceChildren();
    results.hidden = false;
  }

  async function go(method, url, headers, body) {
    connection = new AbortController();
    sentMs = performance.now();
    // The time that it was cut off is no gap.
    lastMs = undefined;
    enter("sending");
    say("Sent.");
    try {
      const response = await fetch(url, { method, headers, body, signal: connection.signal, cache: "no-store" });
      status = response.status + " " + response.statusText;
      streamId = response.headers.get("x-stream-id") ?? streamId;
      if (streamId) begun(streamId);
      const type = response.headers.get("content-type") ?? "";
      if (response.ok && /event-stream|ndjson|^text\/plain/.test(type) && streaming) {
        enter("streaming");
        await read(response, type);
      } else {
        const received = await response.text();
        append(wire, type.includes("json") ? JSON.stringify(JSON.parse(received), undefined, 2) : received);
      }
      tookMs = performance.now() - sentMs;
      enter("ended");
      say("Ended: " + status);
    } catch (error) {
      const asked = connection.signal.aborted;
      append(wire, asked ? "\n--- cut off ---\n" : "\n--- " + error.message + " ---\n");
      enter("cut");
      say(asked ? "Cut off." : "The connection has failed.");
    }
  }

  async function read(response, type) {
    if (type.startsWith("text/event-stream")) {
      let ended = false;
      await readEvents(response, (event) => {
        if (event.id) lastEventId = event.id;
        if (["done", "failed", "message_stop"].includes(event.type) || event.data === "[DONE]") ended = true;
        took(tokenOf(event));
      }, (piece) => append(wire, piece));
      if (!ended && streamId) throw new Error("the connection is lost");
      return;
    }
    let rest = "";
    for await (const piece of piecesOf(response)) {
      append(wire, piece);
      if (type.startsWith("text/plain")) {
        took(piece);
        continue;
      }
      const lines = (rest + piece).split("\n");
      rest = lines.pop();
      for (const data of lines) took(tokenOf({ type: "", data }));
    }
  }

  // What would be sent now: for the button and for the snippets.
  function request() {
    const url = new URL(at(parameters.reduce((path, { in: where, name, input }) =>
      where === "path" ? path.replace("{" + name + "}", encodeURIComponent(input.value)) : path, path)));
    const headers = {};
    if (body) headers["Content-Type"] = "application/json";
    if (types.length > 0) headers.Accept = accept?.value ?? types[0];
    for (const { in: where, name, input: { value } } of parameters) {
      if (where === "query" && value) url.searchParams.set(name, value);
      if (where === "header" && value) headers[name] = value;
    }
    const format = url.searchParams.get("format");
    // The other APIs stream where their body says so.
    const wants = !path.startsWith("/v1/") || /"stream"\s*:\s*true/.test(body?.value);
    const streams = headers.Accept === "text/event-stream" && wants && !["ndjson", "plain"].includes(format);
    return { method: method.toUpperCase(), path, url: url.href, root: at("/"), headers, body: body?.value, streams };
  }

  const clients = h("div", { class: "buttons", role: "group", "aria-label": "Client" });
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(snippet.textContent).then(() => say("Copied."), () => {
      // Copying was denied.
      getSelection().selectAllChildren(snippet);
    });
  });
  let client = "curl";
  function tell() {
    const asked = request();
    const snippets = snippetsOf({ ...asked, headers: keyed(asked.headers, "$API_KEY") });
    clients.replaceChildren(...Object.keys(snippets).map((name) =>
      button(name, () => {
        client = name;
        tell();
        [...clients.children].find(({ textContent }) => textContent === name).focus();
      }, { "aria-pressed": String(name === client) })));
    snippet.textContent = snippets[client];
  }

  const form = h("form", {
    submit: (event) => {
      event.preventDefault();
      const { method, url, headers, body } = request();
      start();
      go(method, url, keyed(headers), body);
    },
    input: tell,
  },
    ...parameters.map(({ name, input }) => field(name, input)),
    accept ? field("Accept", accept) : "",
    body ? field("Body", body, { class: "wide" }) : "",
    h("div", { class: "wide buttons" }, send, ...streaming ? [stop, cut, resume] : []));
  for (const { in: where, input } of parameters) {
    if (where !== "path") continue;
    input.required = true;
    if (!path.startsWith("/streaming")) continue;
    input.classList.add("stream");
    input.value = latestId;
  }
  gaps = [];
  enter("idle");
  tell();
  $("key").addEventListener("input", tell);
  return h("div", {}, form, results,
    h("div", { class: "snippets" }, h("div", { class: "bar" }, clients, copy), snippet));
}
`;
