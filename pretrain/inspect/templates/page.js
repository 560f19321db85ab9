"use strict";
// Filters of the clips, and playing of those that are in view. Without it the page shows all clips, with controls.
const cards = [...document.querySelectorAll("article.clip")];
const form = document.querySelector("form.filters");

function wanted(card, words, quality, chosen) {
  if (!words.every((word) => card.dataset.search.includes(word))) return false;
  // A clip whose quality is not known stays while nothing is asked of it.
  if (quality > 0 && !(parseFloat(card.dataset.quality) >= quality)) return false;
  const values = JSON.parse(card.dataset.values);
  return chosen.every(([name, value]) => values[name] === value);
}

function filter() {
  const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const slider = form.elements.quality;
  const quality = slider ? Number(slider.value) : 0;
  if (slider) document.querySelector("#quality-value").textContent = quality.toFixed(2);
  const chosen = [...form.querySelectorAll("select")].filter((s) => s.value).map((s) => [s.dataset.column, s.value]);
  let shown = 0;
  for (const card of cards) {
    card.hidden = !wanted(card, words, quality, chosen);
    shown += !card.hidden;
  }
  document.querySelector("#shown").textContent = shown;
  document.querySelector("#nothing").hidden = shown > 0;
}

if (form) {
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter(); // browsers keep what was filled in when a page is loaded again
}

if ("IntersectionObserver" in window && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) target.play().catch(() => {}); // the browser may refuse; its controls remain
      else target.pause();
    }
  }, { threshold: 0.4 });
  for (const video of document.querySelectorAll("video")) observer.observe(video);
}
