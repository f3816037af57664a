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
    for (const option of this.metric.options) option.title = data.explanations[option.value] ?? "";
    this.metric.value = data.sorted_by;
    this.columns = ["Case", ...data.regions.map((region) => region.name), "Flags"];
    this.headings = this.columns.map((column) => this.heading(column));
    this.table.tHead.insertRow().append(...this.headings);
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

  /** Sort by a column: upwards, then downwards, then as at first. */
  sort(column) {
    const { column: before, ascending } = this.sorting;
    if (before !== column) this.sorting = { column, ascending: true };
    else this.sorting = ascending ? { column, ascending: false } : { column: null, ascending: true };
    this.draw();
  }

  draw() {
    const { column, ascending } = this.sorting;
    this.headings.forEach((heading, place) => {
      heading.ariaSort = this.columns[place] !== column ? null : ascending ? "ascending" : "descending";
    });
    const numbers = this.numbers;
    this.table.tBodies[0].replaceChildren(...numbers.map((number) => this.row(number)));
    const order = column === null && this.data.sorted_by !== "volume" ? ", the worst first" : "";
    const n = this.data.cases.length;
    document.getElementById("count").textContent = n > 1 ? `${numbers.length} of ${n} cases${order}` : "";
    document.getElementById("explanation").textContent = this.data.explanations[this.metric.value] ?? "";
  }

  heading(column) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.textContent = column;
    button.addEventListener("click", () => this.sort(column));
    cell.append(button);
    return cell;
  }

  row(number) {
    const row = document.createElement("tr");
    for (const column of this.columns) {
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

/** A value as text: counts have no digits behind the point, lengths and volumes two, parts of 1 four. */
function formatted(metric, value) {
  if (metric.startsWith("n_")) return value.toFixed(0);
  return value.toFixed(metric.endsWith("hd95") || metric.endsWith("volume") ? 2 : 4);
}
