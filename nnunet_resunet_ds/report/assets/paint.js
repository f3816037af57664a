"use strict";

const FAINTEST = 12; // of a map, 0 to 255: below it is the noise of compression

/** A slice as a picture in grey. */
function greyPicture({ width, height, data }) {
  const picture = new OffscreenCanvas(width, height);
  const context = picture.getContext("2d");
  const pixels = context.createImageData(width, height);
  data.forEach((grey, place) => pixels.data.set([grey, grey, grey, 255], place * 4));
  context.putImageData(pixels, 0, 0);
  return picture;
}

/** Colours over what lies below: from nothing where a map is 0, over red, to yellow where it is 255. */
function heatPicture({ width, height, data }) {
  const picture = new OffscreenCanvas(width, height);
  const context = picture.getContext("2d");
  const pixels = context.createImageData(width, height);
  data.forEach((value, place) => {
    const opacity = value < FAINTEST ? 0 : 60 + 0.6 * value;
    pixels.data.set([255, value, 0, opacity], place * 4);
  });
  context.putImageData(pixels, 0, 0);
  return picture;
}
