/** Numbered datagrams from one namespace to another (paced-udp/paced-udp.c), at rates that only C can keep: which were lost, which came twice. */
import { compiled } from './c-programs.ts'
import { type Netns, until } from './netns.ts'

/** Longer than any restart that is tested. */
const SILENCE_MS = 15_000

export interface Arrived {
  received: number
  lost: number
  doubled: number
  longestGapMs: number
  lostNumbers: number[]
}

interface Sent {
  sent: number
  /** Times that send(2) failed. */
  refused: number
}

const PROGRAM = compiled('paced-udp')

/** Resolves when it listens; `all` when as many numbers as were sent are there, or nothing comes any more. */
export async function receiveNumbered(at: Netns, port: number): Promise<{ all(sent: number): Promise<Arrived> }> {
  const receiver = at.spawn(PROGRAM, 'receive', String(port), String(SILENCE_MS))
  await until(() => receiver.stdout.includes('ready'))
  return {
    async all(sent) {
      receiver.write(`${sent}\n`)
      if ((await receiver.ended) !== 0) throw new Error(receiver.stderr)
      return JSON.parse(receiver.stdout.split('\n')[1]!) as Arrived
    },
  }
}

/** `count` 0: until it is stopped; resolves to how many it sent. */
export function sendNumbered(
  from: Netns,
  to: string,
  port: number,
  rate: number,
  count = 0,
): { stop(): Promise<number> } {
  const sender = from.spawn(PROGRAM, 'send', to, String(port), String(count), String(rate))
  return {
    async stop() {
      await (count === 0 ? sender.end() : sender.ended)
      const { sent, refused } = JSON.parse(sender.stdout) as Sent
      if (refused > 0) throw new Error(`${refused} of ${sent} datagrams were refused`)
      return sent
    },
  }
}
