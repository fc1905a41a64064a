// The requests to the server that delivered this page; there are no others.

const TRIES = 4;
const MAX_WAIT = 30; // seconds

export class ApiError extends Error {}

// Returns the models and the limits of the server.
export async function models() {
  return (await request("models")).json();
}

// Returns the probability of each token of a text, and the most probable others.
export async function score(query, signal, onwait) {
  return (await request("score", query, signal, onwait)).json();
}

// Yields the pieces of a text as they are generated; returns why it ended.
export async function* generate(query, signal, onwait) {
  const asked = { ...query, stream: true };
  const response = await request("generate", asked, signal, onwait);
  let finished = null;
  for await (const { event, data } of events(response.body)) {
    if (event === "text") yield data.text;
    else if (event === "done") ({ finished } = data);
    else if (event === "error") throw new ApiError(data.message);
  }
  if (finished) return finished;
  throw new ApiError("The text broke off: the server ended it. Press Continue.");
}

async function request(path, query, signal, onwait) {
  for (let number = 1; ; number++) {
    const response = await send(path, query, signal);
    if (response.ok) return response;
    const busy = response.status === 503 || response.status === 429;
    if (!busy || number === TRIES) throw new ApiError(await sentence(response));
    const seconds = Number(response.headers.get("Retry-After")) || 2;
    await wait(Math.min(seconds, MAX_WAIT), signal, onwait);
  }
}

async function send(path, query, signal) {
  const post = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(query),
  };
  try {
    return await fetch(path, { signal, ...(query && post) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(
      "The server does not answer. Start textgen serve again; your text is kept here.",
    );
  }
}

async function sentence(response) {
  const fallback = `The server answered ${response.status}. Try again.`;
  try {
    const { error } = await response.json();
    return typeof error === "string" ? error : fallback;
  } catch {
    return fallback;
  }
}

function wait(seconds, signal, onwait) {
  onwait?.(seconds);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// Yields the events of a stream, as the HTML standard defines server-sent events.
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    held += decoder.decode(value, { stream: !done });
    const blocks = held.split(/\r\n\r\n|\n\n|\r\r/);
    held = blocks.pop();
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split(/\r\n|\n|\r/)) {
        const [, name, content] = line.match(/^([^:]*):? ?(.*)$/);
        if (name === "event") event = content;
        if (name === "data") data.push(content);
      }
      if (data.length) yield { event, data: JSON.parse(data.join("\n")) };
    }
    if (done) return;
  }
}
