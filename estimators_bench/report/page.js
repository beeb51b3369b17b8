for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, row = head.parentElement;
    const at = [...row.children].indexOf(head), body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (line) => {
      const cell = line.children[at], value = cell.dataset.v ?? cell.textContent;
      return value === "" || isNaN(value) ? value : Number(value);
    };
    const order = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const less = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
      return up ? less : -less;
    };
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
  });
}
