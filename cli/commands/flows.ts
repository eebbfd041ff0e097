/** `polder flows`: the conversations that the nodes know, as their data paths see them at this moment. */
import { Command, InvalidArgumentError } from 'commander'
import type { FlowEnd, FlowRecord } from '../../packet/tables/flow-list.ts'
import { examples } from '../command.ts'
import { findDaemons } from '../daemons.ts'
import { formatTable } from '../table.ts'

const HEADER = ['NODE', 'PROTOCOL', 'STATE', 'FROM', 'TO', 'ENTERED', 'SENT', 'ANSWERED', 'AGE', 'FORGOTTEN IN']
const PROTOCOLS: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 }

interface Options {
  address?: string
  port?: string
  protocol?: string
  limit: string
  output?: string
}

export function flowsCommand(): Command {
  const command = new Command('flows')
    .description('list the conversations that pass through the nodes')
    .option('--address <address>', 'only those with this end')
    .option('--port <port>', 'only those with this port at either end')
    .option('--protocol <protocol>', `only ${Object.keys(PROTOCOLS).join(', ')}, or a number`, protocolNumber)
    .option('--limit <number>', 'at most so many of each node', '1000')
    .option('-o, --output <format>', 'json')
  examples(command, [
    ['polder flows --port 80', 'who talks to port 80'],
    ['polder flows --address 10.244.1.3 -o json', 'everything about one pod'],
  ])
  return command.action(async ({ output, ...narrow }: Options, self: Command) => {
    if (output !== undefined && output !== 'json') throw new InvalidArgumentError('-o takes json, or is left out')
    const daemons = (await findDaemons(self)).all
    const answers = await Promise.all(
      daemons.map(async ({ client, info }) => ({ node: info.name, ...(await client.flows({ ...narrow })) })),
    )
    if (output === 'json') {
      process.stdout.write(`${JSON.stringify(answers, undefined, 2)}\n`)
      return
    }
    const rows = answers.flatMap(({ node, flows }) => flows.map((flow) => rowOf(node, flow)))
    process.stdout.write(rows.length === 0 ? 'No flows.\n' : formatTable([HEADER, ...rows]))
    for (const { node, flows, matching } of answers) {
      if (matching > flows.length) process.stderr.write(`${node} has ${matching}: raise --limit, or narrow it down.\n`)
    }
  })
}

function protocolNumber(text: string): string {
  const number = PROTOCOLS[text.toLowerCase()] ?? Number(text)
  if (Number.isInteger(number) && number >= 0 && number <= 255) return String(number)
  throw new InvalidArgumentError(`Use ${Object.keys(PROTOCOLS).join(', ')}, or a number from 0 to 255.`)
}

function rowOf(node: string, flow: FlowRecord): string[] {
  const protocol =
    Object.entries(PROTOCOLS).find(([, number]) => number === flow.protocol)?.[0] ?? String(flow.protocol)
  const hasPorts = ['tcp', 'udp', 'sctp'].includes(protocol)
  const end = ({ address, port }: FlowEnd): string =>
    !hasPorts ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  return [
    node,
    protocol,
    flow.state,
    end(flow.source),
    end(flow.destination),
    flow.origin,
    `${flow.originalPackets} (${flow.originalBytes} B)`,
    `${flow.replyPackets} (${flow.replyBytes} B)`,
    `${Math.floor(flow.ageSeconds)}s`,
    `${Math.ceil(flow.idleSecondsLeft)}s`,
  ]
}
