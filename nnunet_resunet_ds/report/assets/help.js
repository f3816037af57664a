"use strict";

/** The keys of the viewer in words, those alone that do something in the case that is shown.
 * @param {object} shown - of the case: the number of modalities, whether there are reference, changes and maps, and
 *   whether there are other cases to step to
 */
function helpOf({ modalities, reference, changes, maps, others }) {
  const ofPictures = [
    ["Wheel or ↑ ↓: slice", true],
    ["click: go there in all planes", true],
    [`1 to ${modalities}: modality`, modalities > 1],
    ["p: prediction", true],
    ["r: reference", reference],
    ["c: changes", changes],
    ["u: uncertainty", maps],
    ["l: largest tumour", true],
  ];
  const keys = [...(modalities > 0 ? ofPictures : []), ["b, n: previous, next case", others], ["Esc: close", true]];
  return keys.filter(([, works]) => works).map(([text]) => text).join(" · ");
}
