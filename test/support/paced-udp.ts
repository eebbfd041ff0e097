/** Numbered datagrams from one namespace to another (paced-udp/paced-udp.c), at rates that only C can keep: which were lost, which came twice. */
import { compiled } from './c-programs.ts'
import { type Netns, type NetnsProcess, until } from './netns.ts'

/** Longer than any restart that is tested. */
const SILENCE_MS = 15_000

export interface Arrived {
  received: number
  lost: number
  doubled: number
  longestGapMs: number
  lostNumbers: number[]
}

export interface Sent {
  sent: number
  /** Times that send(2) failed. */
  refused: number
}

const PROGRAM = compiled('paced-udp')

/** Resolves when it listens; `arrived` when all numbers are there, or nothing comes any more. */
export async function receiveNumbered(at: Netns, port: number, count: number): Promise<{ arrived: Promise<Arrived> }> {
  const receiver = at.spawn(PROGRAM, 'receive', String(port), String(count), String(SILENCE_MS))
  await until(() => receiver.stdout.includes('ready'))
  const arrived = receiver.ended.then(() => JSON.parse(receiver.stdout.split('\n')[1]!) as Arrived)
  return { arrived }
}

export function sendNumbered(from: Netns, to: string, port: number, count: number, rate: number): NetnsProcess {
  return from.spawn(PROGRAM, 'send', to, String(port), String(count), String(rate))
}

export async function sentNumbers(sender: NetnsProcess): Promise<Sent> {
  await sender.ended
  return JSON.parse(sender.stdout) as Sent
}
