"use strict";

/** The table of cases: one column a region for the metric that is chosen, sorted and filtered. */
class CaseTable {
  /**
   * @param {object} data - regions, metrics and cases of the page
   * @param {(number: number) => void} open - shows the case of that number
   */
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.table = document.getElementById("cases");
    this.filter = document.getElementById("filter");
    this.metric = document.getElementById("metric");
    this.flagged = document.getElementById("flagged");
    this.sorting = { column: null, ascending: true }; // null: as the report lists them, the worst first
    for (const [name, title] of Object.entries(data.metrics)) this.metric.append(new Option(title, name));
    this.filter.addEventListener("input", () => this.draw());
    for (const control of [this.metric, this.flagged]) control.addEventListener("change", () => this.draw());
    this.draw();
  }

  /** Numbers of the cases that are shown, in order. */
  get numbers() {
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = this.data.cases.map((_, number) => number).filter((number) => {
      const { name, flags } = this.data.cases[number];
      const fits = [name, ...flags].some((text) => text.toLowerCase().includes(wanted));
      return fits && (flags.length > 0 || !this.flagged.checked);
    });
    const { column, ascending } = this.sorting;
    return column === null ? shown : shown.sort((a, b) => this.compare(a, b, column) * (ascending ? 1 : -1));
  }

  compare(a, b, column) {
    const [first, second] = [a, b].map((number) => this.cell(number, column));
    if (typeof first === "string") return first.localeCompare(second, undefined, { numeric: true });
    const worst = this.sorting.ascending ? Infinity : -Infinity; // what is not a number comes last either way
    return (first ?? worst) - (second ?? worst);
  }

  cell(number, column) {
    const { name, flags, values } = this.data.cases[number];
    if (column === "Case") return name;
    if (column === "Flags") return flags.join("; ");
    return values[column]?.[this.metric.value] ?? null;
  }

  sort(column) {
    const again = this.sorting.column === column;
    this.sorting = { column, ascending: again ? !this.sorting.ascending : true };
    this.draw();
  }

  draw() {
    const columns = ["Case", ...this.data.regions.map((region) => region.name), "Flags"];
    const head = document.createElement("tr");
    head.append(...columns.map((column) => this.heading(column)));
    this.table.tHead.replaceChildren(head);
    const numbers = this.numbers;
    this.table.tBodies[0].replaceChildren(...numbers.map((number) => this.row(number, columns)));
    document.getElementById("count").textContent = `${numbers.length} of ${this.data.cases.length} cases`;
  }

  heading(column) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.textContent = column;
    button.addEventListener("click", () => this.sort(column));
    if (this.sorting.column === column) cell.ariaSort = this.sorting.ascending ? "ascending" : "descending";
    cell.append(button);
    return cell;
  }

  row(number, columns) {
    const row = document.createElement("tr");
    for (const column of columns) {
      const value = this.cell(number, column);
      const cell = row.insertCell();
      if (column === "Case") {
        const button = document.createElement("button");
        button.textContent = value;
        button.addEventListener("click", () => this.open(number));
        cell.append(button);
      } else {
        cell.textContent = typeof value === "number" ? formatted(this.metric.value, value) : value ?? "–";
      }
    }
    return row;
  }
}

/** A value as text: lengths and volumes have two digits at most, parts of 1 have four. */
function formatted(metric, value) {
  return value.toFixed(metric.endsWith("hd95") || metric === "volume" ? 2 : 4);
}
