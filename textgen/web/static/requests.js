// What a text becomes in the requests to the server.

const SHOWN = 4000; // characters that are shaded
const CONTEXT = 1000; // characters before them that the model reads
const LINES = 20; // lines that are shaded, of a model of single lines

// Returns the last characters of a text, without half of one at the beginning.
export function tail(text, count = SHOWN) {
  if (text.length <= count) return text;
  return text.slice(-count).replace(/^[\uDC00-\uDFFF]/, "");
}

// Returns the request for a continuation.
export function continuation(text, model, limits, seed, settings) {
  const { temperature, top_p, length, label } = settings;
  // A model of single lines learned nothing about the line before.
  const prompt = model.lines ? text.slice(text.lastIndexOf("\n") + 1) : text;
  return {
    model: model.name,
    prompt: tail(prompt, limits.max_characters),
    max_new_tokens: length,
    temperature,
    top_p: top_p < 1 ? top_p : null,
    seed,
    unknown: "skip",
    ...(label && { label }),
  };
}

// Returns the parts of a text to measure, `{start, shown, query}`: a part begins at
// `start`, and is shown from `shown` on.
export function measurements(text, model, limits, { label }) {
  const part = (piece, start, shown) => {
    const query = { model: model.name, text: piece, alternatives: 5, unknown: "skip" };
    return { start, shown, query: { ...query, ...(label && { label }) } };
  };
  if (!model.lines) {
    const piece = tail(text, Math.min(SHOWN + CONTEXT, limits.max_characters));
    return [part(piece, text.length - piece.length, text.length - tail(text).length)];
  }
  const lines = text.split(/(?<=\n)/).slice(-LINES);
  let start = text.length - lines.join("").length;
  return lines.map((line) => {
    start += line.length;
    return part(line, start - line.length, start - line.length);
  });
}

// Returns a sentence if not all of a text is shown.
export function limitNote(parts, model) {
  if (!parts.length || parts[0].shown === 0) return "";
  const characters = `${SHOWN.toLocaleString("en")} characters`;
  return `Only the last ${model.lines ? `${LINES} lines` : characters} are shown here.`;
}
