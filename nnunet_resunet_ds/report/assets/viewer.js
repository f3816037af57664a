"use strict";

const PIXELS_A_SLICE = 80; // of the wheel: a notch of a mouse is about 100, a stroke on a trackpad many small ones
const LINES_A_SLICE = 3;
const LONGEST_SIDE = 640; // of a plane, in pixels of its canvas
const PLACES =
  "x, y and z are the coordinates of the file's header: x grows to the patient's left, y to the back, z upwards. " +
  "Where they are 0 depends on the file: in BraTS at a corner of the image, not in the middle of the brain.";

/** Three planes through one case, with contours of prediction and reference. */
class Viewer {
  /** @param {object} data - regions, metrics and cases of the page */
  constructor(data) {
    this.data = data;
    this.dialog = document.getElementById("viewer");
    this.planes = PLANES.map((plane) => this.makePlane(plane));
    this.active = 0;
    this.regions = data.regions.map((region) => ({ ...region, inside: tableOf(region.labels) }));
    this.toggles = ["prediction", "reference", "changes"].map((name) => document.getElementById(`show-${name}`));
    for (const toggle of this.toggles) toggle.addEventListener("input", () => this.draw());
    this.overlay = document.getElementById("overlay");
    this.overlay.addEventListener("change", () => this.draw());
    document.getElementById("legend").append(...this.regions.map((region) => this.legendEntry(region)));
    document.getElementById("largest").addEventListener("click", () => this.goToLargest());
    document.getElementById("close").addEventListener("click", () => this.dialog.close());
    document.getElementById("previous").addEventListener("click", () => this.step(-1));
    document.getElementById("next").addEventListener("click", () => this.step(1));
    // On the document: the focus may fall to the body, as when a control that has it is taken away.
    document.addEventListener("keydown", (event) => this.dialog.open && this.onKey(event));
    this.wheel = 0;
  }

  makePlane(plane) {
    const box = document.createElement("div");
    box.className = "plane";
    const canvas = document.createElement("canvas");
    canvas.id = `plane-${plane.name}`;
    canvas.role = "img";
    const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, id: `slice-${plane.name}` });
    const output = document.createElement("output");
    const label = document.createElement("label");
    label.append(plane.name, slider, output);
    box.append(canvas, label);
    document.getElementById("planes").append(box);
    const moved = { ...plane, canvas, slider, output };
    slider.addEventListener("input", () => this.move(plane.fixed, Number(slider.value)));
    for (const event of ["focusin", "pointerdown"]) box.addEventListener(event, () => (this.active = plane.fixed));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.active = plane.fixed;
      this.wheel += event.deltaY / (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? PIXELS_A_SLICE : LINES_A_SLICE);
      const slices = Math.trunc(this.wheel);
      this.wheel -= slices;
      if (slices !== 0 && this.volumes) this.move(plane.fixed, this.position[plane.fixed] + slices);
    });
    canvas.addEventListener("pointerdown", (event) => this.goTo(moved, event));
    return moved;
  }

  legendEntry(region) {
    const label = document.createElement("label");
    const toggle = Object.assign(document.createElement("input"), { type: "checkbox", checked: region.shown });
    toggle.id = `show-${region.name}`;
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = region.colour;
    toggle.addEventListener("input", () => {
      region.shown = toggle.checked;
      this.draw();
    });
    label.append(toggle, swatch, region.name);
    return label;
  }

  /** Show the case of that number; `order` are the numbers to step through. */
  async open(number, order) {
    this.number = number;
    this.order = order;
    const shownCase = this.data.cases[number];
    document.getElementById("viewer-title").textContent = shownCase.name;
    this.tell(shownCase);
    this.volumes = null;
    for (const id of ["previous", "next"]) document.getElementById(id).hidden = order.length < 2;
    this.help({});
    this.load(false);
    if (!this.dialog.open) this.dialog.showModal();
    const source = document.getElementById(`pictures-${number}`);
    for (const id of ["planes", "controls", "largest"]) document.getElementById(id).hidden = !source;
    if (!source) {
      this.say(shownCase.problem || "This case has no pictures in this report; --max-viewers gives more cases some.");
      return;
    }
    this.say("");
    this.load(true);
    try {
      await this.read(JSON.parse(source.textContent), number);
    } catch (error) {
      if (number === this.number) this.say(`The pictures of this case cannot be shown: ${error.message}`);
    }
    if (number === this.number) this.load(false);
  }

  /** Say that the pictures are being decoded, and keep the planes of another case out of sight until they are. */
  load(isLoading) {
    document.getElementById("loading").textContent = isLoading ? "loading …" : "";
    document.getElementById("planes").ariaBusy = String(isLoading);
  }

  /** List the keys that do something in this case. */
  help(shown) {
    document.getElementById("help").textContent = helpOf({ ...shown, others: this.order.length > 1 });
  }

  async read(pictures, number) {
    const { shape, columns, label_step: step } = pictures;
    const read = async (urls, reader) =>
      Object.fromEntries(
        await Promise.all(Object.entries(urls).map(async ([name, url]) => [name, await reader(url, shape, columns, step)]))
      );
    const [images, labels, maps] = await Promise.all([
      read(pictures.images, readVolume),
      read(pictures.labels, readLabels),
      read(pictures.maps, readVolume),
    ]);
    if (number !== this.number) return; // another case was opened meanwhile
    this.shape = shape;
    this.spacing = pictures.spacing;
    this.volumes = images;
    this.labels = labels;
    this.maps = maps;
    this.offerOverlays(Object.keys(maps));
    const names = Object.keys(images);
    this.modality = names.includes(this.modality) ? this.modality : names.at(-1);
    this.drawModalities(names);
    for (const [name, key] of [["prediction", "prediction"], ["reference", "reference"], ["changes", "before"]])
      document.getElementById(`${name}-label`).hidden = !(key in labels);
    this.help({
      modalities: names.length,
      reference: "reference" in labels,
      changes: "before" in labels,
      maps: Object.keys(maps).length > 0,
    });
    this.planes.forEach((plane) => (plane.slider.max = shape[plane.fixed] - 1));
    this.goToLargest();
  }

  drawModalities(names) {
    const buttons = names.map((name, number) => {
      const button = document.createElement("button");
      button.textContent = name;
      button.title = `${name} (${number + 1})`;
      button.ariaPressed = String(name === this.modality);
      button.addEventListener("click", () => this.choose(name));
      return button;
    });
    document.getElementById("modalities").replaceChildren(...buttons);
  }

  /** Offer the maps of entropy of these regions; the one that was shown stays, where there is one of it. */
  offerOverlays(regions) {
    const shown = regions.includes(this.overlay.value) ? this.overlay.value : "";
    this.overlay.replaceChildren(new Option("none", ""), ...regions.map((region) => new Option(region, region)));
    this.overlay.value = shown;
    document.getElementById("overlay-label").hidden = regions.length === 0;
  }

  /** Show the next map of entropy; none after the last. */
  nextOverlay() {
    this.overlay.selectedIndex = (this.overlay.selectedIndex + 1) % this.overlay.options.length;
    this.draw();
  }

  choose(modality) {
    this.modality = modality;
    for (const button of document.getElementById("modalities").children)
      button.ariaPressed = String(button.textContent === modality);
    this.draw();
  }

  /** Go to the slices with most of the first region, in the prediction or, where that is empty, in the reference. */
  goToLargest() {
    if (!this.volumes) return;
    const isInside = this.regions[0].inside;
    const found = [this.labels.prediction, this.labels.reference].find((labels) => labels?.some((label) => isInside[label]));
    this.position = fullestSlices(found ?? this.labels.prediction, this.shape, isInside);
    this.draw();
  }

  goTo(plane, event) {
    if (!this.volumes) return;
    const box = plane.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / plane.canvas.width, box.height / plane.canvas.height); // object-fit: contain
    const part = (at, start, extent, pixels) => (at - start - (extent - pixels * scale) / 2) / (pixels * scale);
    const across = part(event.clientX, box.left, box.width, plane.canvas.width);
    const down = part(event.clientY, box.top, box.height, plane.canvas.height);
    const place = (share, axis) => Math.min(this.shape[axis] - 1, Math.max(0, Math.floor(share * this.shape[axis])));
    this.position[plane.column] = place(across, plane.column);
    this.position[plane.row] = place(plane.turned ? 1 - down : down, plane.row);
    this.draw();
  }

  move(axis, to) {
    if (!this.volumes) return;
    this.position[axis] = Math.min(this.shape[axis] - 1, Math.max(0, to));
    this.draw();
  }

  step(by) {
    const place = this.order.indexOf(this.number) + by;
    if (place >= 0 && place < this.order.length) this.open(this.order[place], this.order);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const toggles = { p: 0, r: 1, c: 2 };
    const steps = { ArrowUp: 1, ArrowDown: -1 };
    const key = event.key;
    if (key in toggles) this.toggle(this.toggles[toggles[key]]);
    else if (key in steps && this.volumes) this.move(this.active, this.position[this.active] + steps[key]);
    else if (key === "l") this.goToLargest();
    else if (key === "u") this.nextOverlay();
    else if (key === "n") this.step(1);
    else if (key === "b") this.step(-1);
    else if (/^[1-9]$/.test(key)) document.getElementById("modalities").children[Number(key) - 1]?.click();
    else return;
    event.preventDefault();
  }

  /** Switch contours on or off, unless this case has none. */
  toggle(checkbox) {
    if (!checkbox.parentElement.hidden) checkbox.click();
  }

  draw() {
    if (this.volumes) this.planes.forEach((plane) => this.drawPlane(plane));
  }

  drawPlane(plane) {
    const at = this.position[plane.fixed];
    plane.slider.value = at;
    plane.output.textContent = `${at + 1} / ${this.shape[plane.fixed]}`;
    const extent = this.shape.map((length, axis) => length * this.spacing[axis]);
    const scale = LONGEST_SIDE / Math.max(...extent);
    const image = slice(this.volumes[this.modality], this.shape, plane, at);
    const { canvas } = plane;
    canvas.ariaLabel = `${this.modality}, ${plane.name} slice ${at + 1} of ${this.shape[plane.fixed]}`;
    canvas.width = Math.round(extent[plane.column] * scale);
    canvas.height = Math.round(extent[plane.row] * scale);
    const context = canvas.getContext("2d");
    context.drawImage(greyPicture(image), 0, 0, canvas.width, canvas.height);
    const map = this.maps[this.overlay.value];
    if (map) context.drawImage(heatPicture(slice(map, this.shape, plane, at)), 0, 0, canvas.width, canvas.height);
    const [scaleX, scaleY] = [canvas.width / image.width, canvas.height / image.height];
    const cut = Object.fromEntries(
      Object.entries(this.labels).map(([name, labels]) => [name, slice(labels, this.shape, plane, at)])
    );
    const [prediction, reference, changes] = this.toggles.map((toggle) => toggle.checked);
    if (changes && cut.before) this.drawChanges(context, cut, scaleX, scaleY);
    if (reference && cut.reference) this.drawContours(context, cut.reference, scaleX, scaleY, 5, 0.45);
    if (prediction) this.drawContours(context, cut.prediction, scaleX, scaleY, 1.6, 1);
    this.drawSides(context, plane);
  }

  drawContours(context, cut, scaleX, scaleY, width, opacity) {
    context.lineWidth = width;
    context.lineCap = "round";
    context.globalAlpha = opacity;
    for (const region of this.regions.filter(({ shown }) => shown)) {
      context.strokeStyle = region.colour;
      context.stroke(outline(cut, region.inside, scaleX, scaleY));
    }
    context.globalAlpha = 1;
  }

  drawChanges(context, { prediction, before }, scaleX, scaleY) {
    context.fillStyle = "rgb(255 0 200 / 60%)";
    prediction.data.forEach((label, place) => {
      if (label === before.data[place]) return;
      const [x, y] = [place % prediction.width, Math.floor(place / prediction.width)];
      context.fillRect(x * scaleX, y * scaleY, scaleX, scaleY);
    });
  }

  drawSides(context, { sides: [left, right, top, bottom], canvas }) {
    context.fillStyle = "#9aa";
    context.font = "14px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(left, 10, canvas.height / 2);
    context.fillText(right, canvas.width - 10, canvas.height / 2);
    context.fillText(top, canvas.width / 2, 16);
    context.fillText(bottom, canvas.width / 2, canvas.height - 6);
  }

  /** Say what is known of a case in words: scores, flags, what post-processing did. */
  tell({ values, flags, warnings, changes, lesions }) {
    const metrics = Object.entries(this.data.metrics).filter(([name]) =>
      Object.values(values).some((row) => typeof row[name] === "number")
    );
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const text of ["Metric", ...Object.keys(values)]) head.append(Object.assign(document.createElement("th"), { textContent: text }));
    for (const [name, title] of metrics) {
      const row = table.insertRow();
      row.insertCell().append(explained(title, this.data.explanations[name]));
      for (const value of Object.values(values))
        row.insertCell().textContent = typeof value[name] === "number" ? formatted(name, value[name]) : "–";
    }
    const lists = [["Flags", flags], ["Images", warnings], ["Post-processing", changes]]
      .filter(([, lines]) => lines.length > 0)
      .map(([title, lines]) => listOf(title, lines));
    if (lesions.length > 0)
      lists.unshift(listOf("Lesions", lesions.map((lesion) => this.lesionEntry(lesion)), PLACES));
    document.getElementById("about").replaceChildren(table, ...lists);
  }

  /** A false or missed lesion in words; a click goes there, where there are pictures. */
  lesionEntry({ text, place }) {
    if (!place) return text;
    const button = Object.assign(document.createElement("button"), { textContent: text });
    button.addEventListener("click", () => {
      if (!this.volumes) return;
      this.position = [...place];
      this.draw();
      this.dialog.scrollTo({ top: 0 });
    });
    return button;
  }

  say(text) {
    document.getElementById("message").textContent = text;
  }
}

/** A table that tells by label whether it is one of some. */
function tableOf(labels) {
  const table = new Uint8Array(256);
  for (const label of labels) table[label] = 1;
  return table;
}

/** Text with what it means as a tip, where that is known. */
function explained(text, meaning) {
  return meaning ? Object.assign(document.createElement("span"), { textContent: text, title: meaning }) : text;
}

function listOf(title, lines, note = "") {
  const box = document.createElement("div");
  const heading = Object.assign(document.createElement("h2"), { textContent: title });
  const list = document.createElement("ul");
  for (const line of lines) {
    const item = document.createElement("li");
    item.append(line);
    list.append(item);
  }
  box.append(heading, list);
  if (note) box.append(Object.assign(document.createElement("p"), { className: "hint", textContent: note }));
  return box;
}
