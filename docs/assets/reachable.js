/* Tables that are wider than the page scroll; this lets the keyboard into them, which not every browser does by itself. */
(() => {
  const reach = () => {
    for (const box of document.querySelectorAll(".md-typeset__scrollwrap"))
      box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
  };
  for (const event of ["load", "resize"]) addEventListener(event, reach);
})();
