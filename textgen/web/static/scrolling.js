// Keeps in view what changes.

const NEAR = 90; // pixels

// Returns how many pixels of a place are below the upper end of the bar.
function below(place) {
  return place.bottom - document.getElementById("bar").getBoundingClientRect().top;
}

// Calls a function that adds text, and follows the element below the text if it was
// visible.
export function following(element, grow) {
  const visible = below(element.getBoundingClientRect()) < NEAR;
  grow();
  if (visible) showEnd(element);
}

export function showEnd(element) {
  uncover(element.getBoundingClientRect());
}

// Scrolls to a place if the bar covers it, or a margin of some pixels below it.
export function uncover(place, margin = 0) {
  const hidden = below(place) + margin;
  if (place.bottom > 0 && hidden > 0) window.scrollBy(0, hidden);
}

// Scrolls the panel to an element in it, and never the page.
export function reveal(element, panel) {
  if (!element || getComputedStyle(panel).position !== "sticky") return;
  const { top, bottom } = panel.getBoundingClientRect();
  const place = element.getBoundingClientRect();
  if (place.bottom > bottom) panel.scrollTop += place.bottom - bottom + 24;
  if (place.top < top) panel.scrollTop -= top - place.top + 24;
}
