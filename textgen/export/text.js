// From text to ids and back, as the tokenizers of textgen do it.

const CHARACTERS = /./gsu;
const LETTERS = String.raw`\p{L}\p{N}_`; // and digits
const INSIDE = String.raw`${LETTERS}\p{M}\u200c\u200d`; // of a word
const SPACES =
  String.raw`\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a` +
  String.raw`\u2028\u2029\u202f\u205f\u3000`;
const WORDS = new RegExp(`[${LETTERS}][${INSIDE}]*(?:['\u2019][${INSIDE}]+)*|.`, "gsu");
// The words of subwords: a token never crosses their borders.
const PIECES = new RegExp(
  [
    String.raw`\n`,
    String.raw`[^${LETTERS}\n]?[\p{L}\p{Nl}\p{No}_][${INSIDE}]{0,31}`,
    String.raw` ?\p{Nd}{1,3}`,
    ` ?[^${LETTERS}${SPACES}]{1,32}`,
    String.raw`(?:(?!\n)[${SPACES}]){1,32}(?![^${SPACES}])`,
    `[${SPACES}]`,
  ].join("|"),
  "gu",
);

// Typographic characters, and plain ones.
const PLAIN = new Map(
  [
    ["\u2018\u2019\u201a\u201b\u2032\u00b4`\u02bc", "'"],
    ["\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'],
    ["\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"],
    ["\t\u00a0\u2002\u2003\u2009\u202f", " "],
  ].flatMap(([typographic, plain]) => [...typographic].map((each) => [each, plain])),
);

// Whether a character combines with the one before it: it then changes places with
// U+0345 in the canonical order.
const combines = (c) =>
  c === "\u0345" || ("\u0345" + c).normalize("NFD") !== "\u0345" + c;

// Yields a symbol and its other forms, the most similar ones first.
function* similarForms(symbol) {
  const plain = [...symbol].map((c) => PLAIN.get(c) ?? c).join("");
  const bare = [...plain.normalize("NFKD")].filter((c) => !combines(c)).join("");
  const single = plain.replaceAll('"', "'");
  for (const form of [symbol, symbol.normalize("NFKC"), plain, bare, single]) {
    yield form;
    yield form.toLowerCase();
    yield form.toUpperCase().toLowerCase();
    yield form.toUpperCase();
  }
}

// Tokens are characters or words. `encode` returns ids, and symbols that have none.
function symbolTokenizer({ level, symbols, unknown }) {
  const ids = new Map(symbols.map((symbol, id) => [symbol, id]));
  const split = (text) => text.match(level === "word" ? WORDS : CHARACTERS) ?? [];
  const similar = (symbol) => {
    for (const form of similarForms(symbol)) if (ids.has(form)) return ids.get(form);
  };
  const covers = (text) => split(text).every((each) => similar(each) !== undefined);

  function compose(text) {
    if (!ids.has("\r")) text = text.replace(/\r\n?/g, "\n");
    if (split(text).every((each) => ids.has(each))) return text;
    const composed = text.normalize("NFC"), compatible = text.normalize("NFKC");
    return !covers(composed) && covers(compatible) ? compatible : composed;
  }

  return {
    encode(text) {
      const found = [], missing = new Set();
      for (const symbol of split(compose(text))) {
        const id = ids.get(symbol) ?? similar(symbol) ?? ids.get(unknown);
        if (id === undefined) missing.add(symbol);
        else found.push(id);
      }
      return { ids: found, missing: [...missing] };
    },
    decoder: () => (id) => symbols[id],
  };
}

// Strings of bytes: one character, from U+0000 to U+00FF, for each byte.
const BYTES = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));

function bytesOf(text) {
  const encoder = new TextEncoder();
  let found = "";
  for (const character of text) {
    const code = character.codePointAt(0);
    const lone = code >= 0xd800 && code < 0xe000; // half of a character
    const bytes = lone
      ? [0xed, 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)]
      : encoder.encode(character);
    found += String.fromCharCode(...bytes);
  }
  return found;
}

// Byte-pair encoding: joins the pair that was learned first, until none is left.
function pairEncoder(merges, tokens) {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const joins = new Map(); // pair -> [rank, id]
  const key = (left, right) => left * 2 ** 20 + right;
  for (let i = 0; i < merges.length; i += 2) {
    const token = tokens[merges[i]] + tokens[merges[i + 1]];
    if (!ids.has(token)) {
      ids.set(token, tokens.length);
      tokens.push(token);
    }
    joins.set(key(merges[i], merges[i + 1]), [i, ids.get(token)]);
  }
  return (word) => {
    const found = [...word].map((byte) => byte.charCodeAt(0));
    for (;;) {
      let best = [Infinity], place = 0;
      for (let i = 0; i + 1 < found.length; i++) {
        const join = joins.get(key(found[i], found[i + 1]));
        if (join && join[0] < best[0]) [best, place] = [join, i];
      }
      if (best.length === 1) return found;
      found.splice(place, 2, best[1]);
    }
  };
}

// A unigram model: the tokens with the largest sum of scores.
function unigramEncoder(scores, tokens) {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const longest = tokens.reduce((most, token) => Math.max(most, token.length), 0);
  return (word) => {
    const best = [{ score: 0 }]; // for each end: the score, the last token, its start
    for (let start = 0; start < word.length; start++)
      for (let end = start + 1; end <= Math.min(start + longest, word.length); end++) {
        const id = ids.get(word.slice(start, end));
        if (id === undefined) continue;
        const score = best[start].score + scores[id];
        if (!best[end] || score > best[end].score) best[end] = { score, id, start };
      }
    const found = [];
    for (let end = word.length; end > 0; end = best[end].start)
      found.unshift(best[end].id);
    return found;
  };
}

// Tokens are bytes of UTF-8, or sequences of them: no text is unknown.
function byteTokenizer(config) {
  const { level, model, merges, tokens = [], scores } = config;
  const all = [...BYTES, ...tokens];
  let encodeWord = (word) => [...word].map((byte) => byte.charCodeAt(0));
  if (model === "bpe") encodeWord = pairEncoder(merges, all);
  if (model === "unigram") encodeWord = unigramEncoder(scores, all);
  return {
    encode(text) {
      const form = config.normalization?.toUpperCase();
      if (form) text = text.normalize(form);
      if (config.lowercase) text = text.toLowerCase();
      const words = level === "subword" ? (text.match(PIECES) ?? []) : [text];
      return { ids: words.flatMap((word) => encodeWord(bytesOf(word))), missing: [] };
    },
    // The decoder holds back a part of a character until it is complete.
    decoder() {
      const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
      return (id) => {
        const bytes = Uint8Array.from(all[id], (byte) => byte.charCodeAt(0));
        return utf8.decode(bytes, { stream: true });
      };
    },
  };
}

const tokenizerOf = (tokens) =>
  tokens.symbols ? symbolTokenizer(tokens) : byteTokenizer(tokens);
