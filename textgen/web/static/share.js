// Copying and saving.

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https, browsers have only the old way.
    const area = document.createElement("textarea");
    const before = document.activeElement;
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    if (!done) throw new Error("the browser does not allow it");
  }
}

export function save(text) {
  const words = text.match(/[\p{L}\p{N}]+/gu)?.slice(0, 4) ?? ["text"];
  const link = document.createElement("a");
  const file = new Blob([text], { type: "text/plain;charset=utf-8" });
  link.href = URL.createObjectURL(file);
  link.download = `${words.join("-").toLowerCase().slice(0, 60)}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
