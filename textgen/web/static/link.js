// Text and settings in the fragment of the address, which is never sent to a server.

const MAX_CHARACTERS = 1e6; // a link can come from a stranger

// Returns a fragment: "#1" and deflated JSON, or "#0" and JSON, both as base64url.
export async function encode(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  if (!window.CompressionStream) return "#0" + toBase64(bytes);
  return "#1" + toBase64(await piped(bytes, new CompressionStream("deflate-raw")));
}

// Returns the state, or null if the fragment is empty; throws if it is damaged.
export async function decode(fragment) {
  if (fragment.length < 3) return null;
  let bytes = fromBase64(fragment.slice(2));
  if (fragment[1] === "1") {
    bytes = await piped(bytes, new DecompressionStream("deflate-raw"));
  } else if (fragment[1] !== "0") {
    throw new Error("unknown kind of link");
  }
  const state = JSON.parse(new TextDecoder().decode(bytes));
  if (typeof state?.text !== "string") throw new Error("a link without a text");
  return state;
}

async function piped(bytes, transform) {
  const reader = new Blob([bytes]).stream().pipeThrough(transform).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size > 4 * MAX_CHARACTERS) throw new Error("the link is too long");
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
