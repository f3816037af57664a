"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
const viewer = new Viewer(page);
const table = new CaseTable(page, (number) => viewer.open(number, table.numbers));
for (const mark of document.querySelectorAll(".mark"))
  mark.addEventListener("click", () => openNamed(mark.dataset.case));

/** Show the case of a name; return whether there is one. */
function openNamed(wanted) {
  const number = page.cases.findIndex(({ name }) => name === wanted);
  if (number >= 0) viewer.open(number, table.numbers);
  return number >= 0;
}

/** The part of the address behind #, such as the name of a case. */
function fragment() {
  const text = location.hash.slice(1);
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // with a % of its own
  }
}

window.addEventListener("hashchange", () => openNamed(fragment()));
if (!openNamed(fragment()) && page.cases.length === 1 && document.getElementById("pictures-0"))
  viewer.open(0, table.numbers); // a page of one case is about its images
