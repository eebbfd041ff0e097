/**
 * polderd of a lab node: the same program as anywhere, told by its configuration file what a person would tell it on a
 * machine of its own. Also what the lab asks it: whether the node is ready.
 */
import { writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import type { NodeInfo } from '../../daemon/api/types.ts'
import type { Condition } from '../../daemon/cluster/objects.ts'
import { PolderError } from '../../daemon/errors.ts'
import { Client } from '../client.ts'
import { type Daemon, ensureDaemon } from './daemons.ts'
import { CHECKOUT, type LabNode } from './lab.ts'
import { tail } from './log-tail.ts'
import { UNDERLAY_INTERFACE } from './underlay.ts'

const READY_TIMEOUT_MS = 30_000

export function polderdOf(node: LabNode): Daemon {
  return {
    name: 'polderd',
    command: [`${CHECKOUT}/scripts/polderd`],
    // First the shell script, then the Node that it becomes.
    commandLine: /scripts\/polderd\0|daemon\/main\.ts\0/,
    socket: `${node.runDir}/polderd.sock`,
    log: node.polderdLog,
    startTimeoutMs: 30_000,
  }
}

export async function ensurePolderd(node: LabNode, init: number): Promise<void> {
  const config = { nodeName: node.name, underlayInterface: UNDERLAY_INTERFACE, runner: true }
  writeFileSync(`${node.dataDir}/etc-polder/polder.yaml`, stringify(config))
  await ensureDaemon(node, init, polderdOf(node))
}

/** Resolves when the node's Ready condition is true. */
export async function waitForReady(node: LabNode): Promise<void> {
  let last = 'it says nothing about itself'
  for (const deadline = Date.now() + READY_TIMEOUT_MS; Date.now() < deadline; await delay(50)) {
    const condition = await readyCondition(node)
    if (condition?.status === 'True') return
    if (condition?.message !== undefined) last = condition.message
  }
  throw new PolderError(
    'lab-not-ready',
    `${node.name} is not Ready after ${READY_TIMEOUT_MS / 1000} s: ${last}\n${tail(node.polderdLog)}`,
    `See ${node.polderdLog} and ${node.containerdLog}. To try again: polder lab up`,
  )
}

async function readyCondition(node: LabNode): Promise<Condition | undefined> {
  const object = await answerOrNothing(clientOf(node).find('Node', node.name))
  return object?.status?.conditions.find(({ type }) => type === 'Ready')
}

export function nodeInfo(node: LabNode): Promise<NodeInfo | undefined> {
  return answerOrNothing(clientOf(node).node())
}

function clientOf(node: LabNode): Client {
  return new Client(polderdOf(node).socket)
}

/** A polderd that does not answer (yet) is an answer too. */
async function answerOrNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch {
    return undefined
  }
}
