"use strict";

/** Planes in the order of the axes that they fix; rows and columns are the other axes, up is up. */
const PLANES = [
  { name: "axial", fixed: 0, row: 1, column: 2, turned: false, sides: ["R", "L", "A", "P"] },
  { name: "coronal", fixed: 1, row: 0, column: 2, turned: true, sides: ["R", "L", "S", "I"] },
  { name: "sagittal", fixed: 2, row: 0, column: 1, turned: true, sides: ["A", "P", "S", "I"] },
];

/** Read a picture of all axial slices back into a volume (z, y, x) of bytes. */
async function readVolume(url, shape, columns) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
  const [depth, height, width] = shape;
  const volume = new Uint8Array(depth * height * width);
  let to = 0;
  for (let z = 0; z < depth; z++) {
    const top = Math.floor(z / columns) * height;
    const left = (z % columns) * width;
    for (let y = 0; y < height; y++) {
      let from = ((top + y) * picture.width + left) * 4;
      for (let x = 0; x < width; x++, from += 4) volume[to++] = pixels[from];
    }
  }
  return volume;
}

/** Read a picture of labels: each grey value stands for the nearest label; `step` lies between two of them. */
async function readLabels(url, shape, columns, step) {
  const volume = await readVolume(url, shape, columns);
  return volume.map((grey) => Math.round(grey / step));
}

/** Cut a volume: bytes of one plane, row after row as they are shown. */
function slice(volume, shape, plane, at) {
  const [width, height] = [shape[plane.column], shape[plane.row]];
  const steps = [shape[1] * shape[2], shape[2], 1];
  const cut = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const place = plane.turned ? height - 1 - row : row;
    let from = at * steps[plane.fixed] + place * steps[plane.row];
    for (let column = 0; column < width; column++, from += steps[plane.column]) cut[row * width + column] = volume[from];
  }
  return { width, height, data: cut };
}

/** Outline where a test holds: one line for each side of a pixel between inside and outside. */
function outline({ width, height, data }, isInside, scaleX, scaleY) {
  const path = new Path2D();
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && isInside[data[y * width + x]];
  const line = (x1, y1, x2, y2) => {
    path.moveTo(x1 * scaleX, y1 * scaleY);
    path.lineTo(x2 * scaleX, y2 * scaleY);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) line(x, y, x + 1, y);
      if (!inside(x, y + 1)) line(x, y + 1, x + 1, y + 1);
      if (!inside(x - 1, y)) line(x, y, x, y + 1);
      if (!inside(x + 1, y)) line(x + 1, y, x + 1, y + 1);
    }
  }
  return path;
}

/** For each axis, the slice in which most voxels pass a test; the middle one where none does. */
function fullestSlices(volume, shape, isInside) {
  const counts = shape.map((length) => new Uint32Array(length));
  let at = 0;
  for (let z = 0; z < shape[0]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[2]; x++, at++)
        if (isInside[volume[at]]) {
          counts[0][z]++;
          counts[1][y]++;
          counts[2][x]++;
        }
  return counts.map((count, axis) => {
    const most = count.reduce((best, value, place) => (value > count[best] ? place : best), 0);
    return count[most] > 0 ? most : Math.floor(shape[axis] / 2);
  });
}
