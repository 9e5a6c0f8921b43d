// How results look on a terminal: rows of a name and a number, and tables before them.

/** @param result rows, or `{ tables, rows }` */
export function show(name, result) {
  const { tables, rows } = Array.isArray(result) ? { tables: [], rows: result } : result;
  console.log(`\n${name}`);
  for (const table of tables) showTable(table);
  for (const { name: what, value, unit, note } of rows) {
    const number = value === null ? "-" : value.toFixed(value < 100 ? 2 : 0);
    console.log(`  ${what.padEnd(58)} ${number.padStart(9)} ${unit.padEnd(12)} ${note ?? ""}`);
  }
}

/** The first column to the left, the others to the right. */
function showTable({ title, columns, lines }) {
  const text = (cell) => (typeof cell === "number" ? cell.toFixed(2) : (cell ?? "-"));
  const cells = [columns, ...lines].map((line) => line.map(text));
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  console.log(`  ${title}`);
  for (const [first, ...others] of cells) {
    const right = others.map((cell, i) => cell.padStart(widths[i + 1]));
    console.log(`    ${[first.padEnd(widths[0]), ...right].join("   ")}`);
  }
  console.log("");
}
