/**
 * Draws what was sampled over time as an SVG: one panel a quantity, one line a series, and ticks under the last panel
 * for what happened. No axis is shared but time; every panel begins at 0.
 */
export interface Panel {
  title: string
  series: { name: string; points: [seconds: number, value: number][] }[]
}

export interface Mark {
  seconds: number
  text: string
}

const WIDTH = 1000
const PANEL_HEIGHT = 130
const LEFT = 70
const RIGHT = 150
const TOP = 24
const GAP = 46
const COLORS = ['#1b6ca8', '#c8553d', '#588b3a', '#8a5aa3', '#b8860b', '#3a7d7c']
const MARK_COLORS = ['#888', ...COLORS]

export function drawLines(title: string, panels: readonly Panel[], marks: readonly Mark[]): string {
  const points = panels.flatMap(({ series }) => series.flatMap((one) => one.points))
  const lastSecond = Math.max(1, ...points.map(([seconds]) => seconds), ...marks.map(({ seconds }) => seconds))
  const x = (seconds: number): number => LEFT + (seconds / lastSecond) * (WIDTH - LEFT - RIGHT)
  const bottom = TOP + panels.length * (PANEL_HEIGHT + GAP)
  const kinds = [...new Set(marks.map(({ text }) => text))].sort()
  const height = bottom + 30 + kinds.length * 16
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">`,
    '<rect width="100%" height="100%" fill="white"/>',
    `<text x="${LEFT}" y="16" font-size="14">${escaped(title)}</text>`,
    ...panels.map((panel, i) => drawPanel(panel, TOP + i * (PANEL_HEIGHT + GAP) + GAP / 2, x, lastSecond)),
    ...kinds.map((kind, i) => drawMarks(kind, i, bottom + 24 + i * 16, marks, x)),
    '</svg>\n',
  ].join('\n')
}

function drawPanel({ title, series }: Panel, top: number, x: (seconds: number) => number, lastSecond: number): string {
  const most = Math.max(1, ...series.flatMap(({ points }) => points.map(([, value]) => value))) * 1.05
  const y = (value: number): number => top + PANEL_HEIGHT - (value / most) * PANEL_HEIGHT
  const lines = series.map(({ name, points }, i) => {
    const path = points.map(([seconds, value]) => `${x(seconds).toFixed(1)},${y(value).toFixed(1)}`).join(' ')
    const color = COLORS[i % COLORS.length]
    const label = `<text x="${WIDTH - RIGHT + 8}" y="${top + 12 + i * 14}" fill="${color}">${escaped(name)}</text>`
    return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.2"/>${label}`
  })
  const levels = [0, 0.5, 1].map((share) => {
    const value = share * most
    const text = `<text x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${shortened(value)}</text>`
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>${text}`
  })
  const thirds = [0, 1, 2, 3].map((third) => {
    const seconds = (lastSecond / 3) * third
    return `<text x="${x(seconds)}" y="${top + PANEL_HEIGHT + 13}" text-anchor="middle" fill="#888">${seconds.toFixed(0)} s</text>`
  })
  return [`<text x="${LEFT}" y="${top - 5}">${escaped(title)}</text>`, ...levels, ...thirds, ...lines].join('\n')
}

function drawMarks(
  kind: string,
  index: number,
  y: number,
  marks: readonly Mark[],
  x: (seconds: number) => number,
): string {
  const color = MARK_COLORS[index % MARK_COLORS.length]
  const ticks = marks
    .filter(({ text }) => text === kind)
    .map(({ seconds }) => `<line x1="${x(seconds)}" x2="${x(seconds)}" y1="${y - 9}" y2="${y + 1}" stroke="${color}"/>`)
  return [...ticks, `<text x="${WIDTH - RIGHT + 8}" y="${y}" fill="${color}">${escaped(kind)}</text>`].join('')
}

function shortened(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(0)}k` : value.toFixed(value < 10 ? 1 : 0)
}

function escaped(text: string): string {
  return text.replace(/[<>&]/g, (character) => `&#${character.charCodeAt(0)};`)
}
