/** A table as kubectl prints one: left-aligned, three spaces between columns, nothing after the last. */
const GAP = '   '

export function columnWidths(rows: string[][], atLeast: number[] = []): number[] {
  const widths = [...atLeast]
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  }
  return widths
}

export function formatRow(row: string[], widths: number[]): string {
  const cells = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
  return `${cells.join(GAP).trimEnd()}\n`
}

export function formatTable(rows: string[][]): string {
  const widths = columnWidths(rows)
  return rows.map((row) => formatRow(row, widths)).join('')
}
