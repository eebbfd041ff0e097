/**
 * The figures that are judged as a chart: an SVG for the README, legible on light and on dark ground, without scripts.
 * Each row has a bar for each peer, as long as its median is large beside the largest of the row; a whisker from the
 * lowest to the highest round.
 */
import type { Peer } from './peers/peer.ts'
import type { Report } from './report.ts'
import { formatValue, type Outcome, type Row, shortTitle } from './rounds.ts'
import { summarise } from './statistics.ts'
import { judge } from './targets.ts'

const WIDTH = 860
const LABEL_WIDTH = 190
const NAME_WIDTH = 130
const BAR_LEFT = LABEL_WIDTH + NAME_WIDTH
const VALUE_WIDTH = 130
const BAR_MAX = WIDTH - BAR_LEFT - VALUE_WIDTH
const BAR_HEIGHT = 12
const LINE = 17
const ROW_GAP = 9
const TITLE_HEIGHT = 34
const MARGIN = 16

const STYLE = `
    .ground { fill: #ffffff; stroke: #d0d7de }
    text { fill: #1f2328; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
    .title { font-weight: 600; font-size: 14px }
    .quiet { fill: #59636e; font-size: 11px }
    .polder { fill: #1a7f37 }
    .kernel { fill: #57606a }
    .tuned { fill: #8c959f }
    .user-space { fill: #bf8700 }
    .whisker { stroke: #1f2328; stroke-width: 1 }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117; stroke: #3d444d }
      text { fill: #f0f6fc }
      .quiet { fill: #9198a1 }
      .polder { fill: #3fb950 }
      .kernel { fill: #9198a1 }
      .tuned { fill: #656c76 }
      .user-space { fill: #d29922 }
      .whisker { stroke: #f0f6fc }
    }`

/** Lines of SVG, and how far down they reach. */
interface Drawing {
  lines: string[]
  bottom: number
}

export function drawChart(report: Report): string {
  const { machine, rounds, begun } = report
  const drawing: Drawing = { lines: [], bottom: MARGIN }
  for (const outcome of report.outcomes) drawOutcome(drawing, outcome)
  const date = begun.toISOString().slice(0, 10)
  const median = rounds === 1 ? 'One round' : `Median of ${rounds} rounds, whiskers from lowest to highest`
  const foot = `${median}. ${date}, Linux ${machine.kernel}, ${machine.cores} × ${machine.cpu}. scripts/bench`
  drawing.bottom += LINE
  text(drawing, MARGIN, foot, 'quiet')
  const height = drawing.bottom + MARGIN
  const head = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    '  <title>polder beside other ways to connect pods</title>',
    `  <style>${STYLE}\n  </style>`,
    `  <rect class="ground" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>`,
  ]
  return `${[...head, ...drawing.lines.map((line) => `  ${line}`), '</svg>'].join('\n')}\n`
}

/** Only what is judged against somebody else: the rest is in the table. */
function drawOutcome(drawing: Drawing, { contest, rows }: Outcome): void {
  const drawn = rows.filter(
    (row) => row.name === row.figure && judge(row, contest).some(({ peer }) => peer !== undefined),
  )
  if (drawn.length === 0) return
  drawing.bottom += TITLE_HEIGHT
  text(drawing, MARGIN, shortTitle(contest), 'title')
  drawing.bottom += ROW_GAP
  for (const row of drawn) drawRow(drawing, row, contest.peers)
}

function drawRow(drawing: Drawing, row: Row, peers: readonly Peer[]): void {
  const bars = peers.flatMap((peer) => {
    const values = row.values[peer.name]
    return values === undefined ? [] : [{ peer, ...summarise(values) }]
  })
  const most = Math.max(...bars.map(({ max }) => max))
  const x = (value: number): number => Math.round(BAR_LEFT + (value / most) * BAR_MAX)
  for (const [i, { peer, median, min, max }] of bars.entries()) {
    drawing.bottom += LINE
    const top = drawing.bottom - BAR_HEIGHT + 2
    const middle = top + BAR_HEIGHT / 2
    if (i === 0) {
      text(drawing, MARGIN, row.name)
      if (row.better === 'less') text(drawing, MARGIN, 'less is better', 'quiet', LINE)
    }
    text(drawing, LABEL_WIDTH, peer.name, 'quiet')
    const size = `width="${x(median) - BAR_LEFT}" height="${BAR_HEIGHT}"`
    drawing.lines.push(`<rect class="${peer.kind}" x="${BAR_LEFT}" y="${top}" ${size}/>`)
    if (x(max) > x(min))
      drawing.lines.push(`<line class="whisker" x1="${x(min)}" y1="${middle}" x2="${x(max)}" y2="${middle}"/>`)
    text(drawing, x(max) + 6, `${formatValue(median)} ${row.unit}`)
  }
  drawing.bottom += ROW_GAP
}

/** On the line that was drawn last, or below it. */
function text({ lines, bottom }: Drawing, x: number, words: string, style?: string, below = 0): void {
  const look = style === undefined ? '' : ` class="${style}"`
  lines.push(`<text${look} x="${x}" y="${bottom + below}">${escapeText(words)}</text>`)
}

function escapeText(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
