/** Loggers for tests: one that says nothing, one whose lines are kept. */
import pino, { type Logger } from 'pino'

export function silentLog(): Logger {
  return pino({ level: 'silent' })
}

export function keptLog(lines: string[]): Logger {
  return pino({}, { write: (line: string) => void lines.push(line) })
}
