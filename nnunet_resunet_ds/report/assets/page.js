"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
const viewer = new Viewer(page);
const table = new CaseTable(page, (number) => viewer.open(number, table.numbers));
for (const mark of document.querySelectorAll(".mark"))
  mark.addEventListener("click", () => {
    const number = page.cases.findIndex(({ name }) => name === mark.dataset.case);
    viewer.open(number, table.numbers);
  });
