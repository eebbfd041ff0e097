/** The version in package.json, the one place that has it; the CLI does not load polderd's own file for a line. */
import { readFileSync } from 'node:fs'

export const VERSION: string = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
