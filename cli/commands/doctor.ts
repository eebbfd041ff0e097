/**
 * `polder doctor`: what is wrong with the nodes within reach, as their polderds find it, and what to do. Where none runs,
 * this machine is looked over by `polderd --doctor`: whether one could.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import type { Finding } from '../../daemon/api/types.ts'
import { PolderError } from '../../daemon/errors.ts'
import { examples } from '../command.ts'
import { findDaemons } from '../daemons.ts'

const MARKS = { error: '✗', warning: '!', info: '·' } as const
const THIS_MACHINE = 'this machine'

export function doctorCommand(): Command {
  const command = new Command('doctor').description('find what is wrong with the nodes, and what to do about it')
  examples(command, [
    ['polder doctor', 'the nodes within reach; exit code 1 where something is wrong'],
    ['sudo polder doctor', 'before polderd runs: whether this machine is ready for it'],
  ])
  return command.action(async (_options: object, self: Command) => {
    const reports = await examine(self)
    process.stdout.write(reports.map(([name, findings]) => format(name, findings)).join(''))
    const isWrong = reports.some(([, findings]) => findings.some(({ severity }) => severity !== 'info'))
    if (isWrong) process.exitCode = 1
  })
}

/** Of each node by its name. */
async function examine(self: Command): Promise<[string, Finding[]][]> {
  try {
    const { all } = await findDaemons(self)
    return await Promise.all(
      all.map(async ({ client, info }): Promise<[string, Finding[]]> => [info.name, await client.findings()]),
    )
  } catch (error) {
    if (!(error instanceof PolderError && error.code === 'no-daemon')) throw error
    const { code, message, remedy } = error
    return [[THIS_MACHINE, [{ id: code, severity: 'error', message, remedy }, ...(await examineMachine())]]]
  }
}

function examineMachine(): Promise<Finding[]> {
  const polderd = fileURLToPath(new URL('../../scripts/polderd', import.meta.url))
  return new Promise((resolve) => {
    execFile(polderd, ['--doctor'], (error, stdout, stderr) => {
      if (error === null) return resolve(JSON.parse(stdout) as Finding[])
      const [said = '', ...remedy] = stderr.trim().split('\n')
      const message = `this machine could not be looked over: ${said.replace(/^polderd: /, '')}`
      resolve([{ id: 'not-examined', severity: 'error', message, remedy: remedy.join('\n').trim() }])
    })
  })
}

function format(name: string, findings: readonly Finding[]): string {
  const lines = [name]
  if (findings.every(({ severity }) => severity === 'info')) lines.push('  ✓ nothing is wrong')
  for (const { id, severity, message, remedy } of findings) {
    lines.push(`  ${MARKS[severity]} ${id}: ${message}`)
    if (remedy !== '') lines.push(`    ${remedy}`)
  }
  return `${lines.join('\n')}\n`
}
