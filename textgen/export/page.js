// The page: what the reader types, presses and sees.

const get = (id) => document.getElementById(id);
const model = JSON.parse(get("model").textContent);
const tokenizer = tokenizerOf(model.tokens);
const UNITS = {
  character: "characters",
  word: "words and signs",
  byte: "bytes",
  subword: "parts of words",
};
const SLICE = 12; // milliseconds of work, then the browser may do other things

const channel = new MessageChannel(); // a timer would wait for some milliseconds
const pause = () =>
  new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });

// Decodes the weights in pieces, so that a phone does not freeze.
async function decodeWeights() {
  const text = get("weights").textContent;
  const weights = new Float32Array(model.count);
  const halves = Float32Array.from({ length: 65536 }, (_, bits) => valueOfHalf(bits));
  const size = 2 ** 18; // characters of a piece: 196,608 bytes, which are whole numbers
  for (let at = 0, used = 0; at < text.length; at += size) {
    const piece = atob(text.slice(at, at + size));
    const bytes = new Uint8Array(piece.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = piece.charCodeAt(i);
    const numbers = new (model.half ? Uint16Array : Float32Array)(bytes.buffer);
    for (let i = 0; i < numbers.length; i++, used++)
      weights[used] = model.half ? halves[numbers[i]] : numbers[i];
    await pause();
  }
  get("weights").remove();
  return weights;
}

// The value of a 16-bit floating-point number (IEEE 754): sign, exponent, fraction.
function valueOfHalf(bits) {
  const sign = bits < 32768 ? 1 : -1;
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * POWERS[exponent - 15 + 1024];
}

let reader; // after the weights are decoded
let current; // the text on the page: its generator, its random numbers, its settings
let running = false;
let stopping = false;
let unspoken = ""; // the line that is being written

// Takes up to `count` tokens from a generator, and shows them.
async function take(pieces, count) {
  let taken = 0, text = "";
  let until = performance.now() + SLICE;
  while (taken < count && !stopping) {
    const { value, done } = pieces.next();
    if (done) break;
    if (value !== null) {
      taken++;
      text += value;
    }
    if (performance.now() < until) continue;
    show(text);
    text = "";
    await pause();
    until = performance.now() + SLICE;
  }
  show(text);
}

function show(text) {
  if (text) get("text").lastChild.appendData(text);
  const lines = (unspoken + text).split("\n");
  unspoken = lines.pop();
  lines.forEach(speak);
}

// Gives a line to a screen reader, as a whole.
function speak(line) {
  const spoken = document.createElement("p");
  spoken.textContent = line;
  get("spoken").append(spoken);
  if (get("spoken").children.length > 50) get("spoken").firstChild.remove();
}

// Begins a text: shows the beginning, and returns a generator of the rest.
function begin() {
  const beginning = get("beginning").value;
  const { ids, missing } = tokenizer.encode(beginning);
  const note = get("note");
  note.hidden = !missing.length;
  note.textContent =
    "This model does not know these symbols, and reads on without them: " +
    missing.slice(0, 20).join(" ");
  const labels = [...document.querySelectorAll("#labels input:checked")];
  const read = [...labels.map((each) => Number(each.value)), ...ids];
  const typed = document.createElement("span");
  typed.className = "typed";
  typed.textContent = beginning;
  get("text").append(typed, "");
  return writing(reader, tokenizer.decoder(), read, model.end, current);
}

// The number in a field; another one if it is empty or out of range.
function numberIn(id, otherwise) {
  const { value, min, max } = get(id);
  const number = Math.floor(Number(value));
  return value !== "" && number >= min && number <= max ? number : otherwise;
}

async function write(fresh) {
  if (running || !reader) return;
  running = true;
  stopping = false;
  refresh();
  get("status").textContent = "Writing\u2026";
  if (fresh) {
    if (get("text").getBoundingClientRect().top > innerHeight * 0.7)
      get("bar").scrollIntoView();
    get("text").replaceChildren();
    get("spoken").replaceChildren();
    const seed = numberIn("seed", crypto.getRandomValues(new Uint32Array(1))[0]);
    current = { seed, random: randomNumbers(seed) };
  }
  current.temperature = Number(get("temperature").value);
  current.topP = Number(get("top-p").value);
  const length = numberIn("length", model.end === null ? model.length : 10);
  if (model.end === null) {
    if (fresh) current.pieces = begin();
    await take(current.pieces, length);
    speak(unspoken);
    unspoken = "";
  } else {
    for (let line = 0; line < length && !stopping; line++) {
      if (get("text").firstChild) get("text").append("\n");
      await take(begin(), model.length);
      speak(unspoken);
      unspoken = "";
    }
  }
  running = false;
  const count = [...get("text").textContent].length.toLocaleString("en");
  const how = stopping ? "Stopped" : "Done";
  get("status").textContent = `${how}: ${count} characters, seed ${current.seed}`;
  refresh();
}

function enable(id, on) {
  get(id).setAttribute("aria-disabled", String(!on));
}

const enabled = (id) => get(id).getAttribute("aria-disabled") === "false";

function refresh() {
  const written = get("text").textContent !== "";
  get("write").textContent = running ? "Stop" : "Write";
  enable("write", reader !== undefined);
  enable("continue", !running && written);
  enable("copy", !running && written);
  enable("save", !running && written);
}

function stop() {
  stopping = true;
}

async function copy() {
  const text = get("text").textContent;
  try {
    await navigator.clipboard.writeText(text);
    get("status").textContent = "Copied";
  } catch {
    // Some browsers refuse it for files: the text is selected for the reader to copy.
    getSelection().selectAllChildren(get("text"));
    get("status").textContent = "The text is selected: copy it with Ctrl+C";
  }
}

function save() {
  const link = document.createElement("a");
  const text = new Blob([get("text").textContent], { type: "text/plain" });
  const name = document.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  link.href = URL.createObjectURL(text);
  link.download = `${name}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function prepare() {
  get("beginning").value = model.prompt;
  get("temperature").value = model.temperature;
  const lines = model.end !== null;
  get("length").value = lines ? 10 : model.length;
  get("length-label").textContent = lines ? "Lines" : "Length";
  get("length-hint").textContent = lines
    ? "How many lines are written, each with the beginning."
    : `How many ${UNITS[model.tokens.level]} are written.`;
  get("labels").hidden = !model.labels.length;
  model.labels.forEach((name, number) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = model.first_label + number;
    label.append(box, name);
    get("labels").append(label);
  });
  for (const id of ["temperature", "top-p"]) {
    const update = () => {
      get(`${id}-value`).textContent = Number(get(id).value).toFixed(2);
    };
    get(id).addEventListener("input", update);
    update();
  }
  get("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) stop();
    else write(true);
  });
  get("continue").addEventListener("click", () => enabled("continue") && write(false));
  get("copy").addEventListener("click", () => enabled("copy") && copy());
  get("save").addEventListener("click", () => enabled("save") && save());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      write(true);
    }
  });
}

prepare();
reader = new Reader(model, await decodeWeights());
get("status").textContent = "";
refresh();

// For tests and the console: the logits after each of some ids, which begin a text (-1
// is the start step), and the parts of the page.
window.poet = {
  logits(ids) {
    const found = [];
    reader.reset();
    for (const id of ids) {
      for (const _ of reader.read([id]));
      found.push([...reader.logits()]);
    }
    return found;
  },
  encode: tokenizer.encode,
  decoder: tokenizer.decoder,
  sample,
  randomNumbers,
};
