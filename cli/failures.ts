/** How the command says that something went wrong: `Error: what`, and below it what to do. */
import type { Command } from 'commander'
import { PolderError } from '../daemon/errors.ts'

export function reportError(error: unknown): void {
  process.stderr.write(formatError(error))
}

export function formatError(error: unknown): string {
  if (error instanceof PolderError) return `Error: ${error.message}\n${indent(error.remedy)}`
  if (process.env['POLDER_DEBUG'] && error instanceof Error) return `${error.stack}\n`
  const message = error instanceof Error ? error.message : String(error)
  return `Error: ${message}\n${indent('This is a fault of polder. With POLDER_DEBUG=1 it says where it happened.')}`
}

/** Commander's own complaints (`error: unknown option '-z'`), in the same form. */
export function formatUsageError(text: string, command: Command): string {
  const [first, ...rest] = text.trim().split('\n')
  const message = first!.replace(/^error: /, '')
  const meant = rest.map((line) => line.replace(/^\((.*)\)$/, '$1')).join(' ')
  const path: string[] = []
  for (let each: Command | null = command; each !== null; each = each.parent) path.unshift(each.name())
  const remedy = `See what there is: ${path.join(' ')} --help`
  return `Error: ${message}\n${indent(meant === '' ? remedy : `${meant} ${remedy}`)}`
}

function indent(text: string): string {
  if (text === '') return ''
  return `${text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n')}\n`
}

/** Does all of it, in order, reporting each failure as it comes; the command then exits with 1. */
export async function failAfterAll<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  for (const item of items) await act(item).catch(fail)
}

/** As failAfterAll, but all at once. */
export async function failAfterAllAtOnce<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  await Promise.all(items.map((item) => act(item).catch(fail)))
}

function fail(error: unknown): void {
  reportError(error)
  process.exitCode = 1
}
