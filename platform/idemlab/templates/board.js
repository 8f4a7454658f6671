"use strict";
(() => {
  const table = document.querySelector(".board"), body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({
    row,
    order: JSON.parse(row.dataset.order),
    values: JSON.parse(row.dataset.values),
    text: row.textContent.toLowerCase(),
  }));
  const find = (id) => document.getElementById(id);
  const [search, at, sort, order, count] = ["search", "at", "sort", "order", "count"].map(find);
  const filters = [...document.querySelectorAll("[data-filter]")];
  const measured = new Set(["relative", "absolute", "spread", "rank"]);

  const key = (one) => (measured.has(sort.value) ? one.values[at.value]?.[sort.value]?.[0] : one.order[sort.value]) ?? null;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const one of rows) {
      const fits = filters.every((f) => !f.value || one.row.dataset[f.dataset.filter] === f.value);
      one.row.hidden = !(fits && words.every((word) => one.text.includes(word)));
      shown += !one.row.hidden;
    }
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows shown`;
  }

  function arrange() {
    const sign = Number(order.value);
    const sorted = rows.map((one) => [key(one), one]).sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // rows without a value come last
      return sign * compare(a, b);
    });
    body.append(...sorted.map(([, one]) => one.row));
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.key === sort.value) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
  }

  function measure() {
    for (const one of rows) {
      const values = one.values[at.value];
      for (const cell of one.row.querySelectorAll("[data-at]")) {
        const [, text, small] = values?.[cell.dataset.at] ?? [null, "", ""];
        cell.firstElementChild.textContent = text;
        cell.lastElementChild.textContent = small;
        cell.classList.toggle("empty", !text);
      }
    }
    arrange();
  }

  for (const head of table.tHead.rows[0].querySelectorAll("[data-key]")) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      order.value = sort.value === head.dataset.key ? String(-Number(order.value)) : "1";
      sort.value = head.dataset.key;
      arrange();
    });
  }
  search.addEventListener("input", show);
  filters.forEach((filter) => filter.addEventListener("change", show));
  at.addEventListener("change", measure);
  [sort, order].forEach((choice) => choice.addEventListener("change", arrange));
  document.querySelector(".controls").hidden = false;
  order.value = "1";
  measure(); // a browser may have kept the choices of an earlier visit
  show();
})();
