// The work, kept in the browser: a reload loses nothing, nor does a closed window.

const NAME = "textgen";

// Each window keeps its own work; a new window begins with the last one of any.
export function load() {
  for (const place of places()) {
    try {
      const work = JSON.parse(place.getItem(NAME));
      if (work) return work;
    } catch {
      // Damaged, or not allowed: as if it were empty.
    }
  }
  return null;
}

// Returns whether it was kept.
export function keep(work) {
  const text = JSON.stringify(work);
  let kept = false;
  for (const place of places()) {
    try {
      place.setItem(NAME, text);
      kept = true;
    } catch {
      // Full, or not allowed.
    }
  }
  return kept;
}

function places() {
  return ["sessionStorage", "localStorage"].flatMap((name) => {
    try {
      return [window[name]];
    } catch {
      return [];
    }
  });
}
