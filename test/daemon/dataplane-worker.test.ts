/** The data-path worker's life: one that cannot start is an error, one that dies later is replaced. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, expect, it } from 'vitest'
import { createBatchMemory } from '../../daemon/dataplane/batch-memory.ts'
import { Crew } from '../../daemon/dataplane/crew.ts'
import { DataPlane } from '../../daemon/dataplane/dataplane.ts'
import { CONTROL_WORDS } from '../../daemon/dataplane/protocol.ts'
import { openEvent } from '../../daemon/nic/nic.ts'
import { ServiceTable } from '../../packet/tables/services.ts'

const surroundings = {
  peers: [],
  routes: [],
  vtep: { vni: 1, mac: '02:00:00:00:00:01' },
  mtuBytes: 1450,
  gateways: ['10.0.0.1'],
  natAddresses: ['10.0.0.2'],
  copyDscp: false,
}
const services = ServiceTable.build([])
const poisonFolder = '/nonexistent'
const log = pino({ level: 'silent' })
const folder = mkdtempSync(join(tmpdir(), 'polder-worker-'))
afterAll(() => rmSync(folder, { recursive: true }))
const flows = { path: join(folder, 'flows'), capacity: 1024, bootId: randomUUID(), log }
const counters = { path: join(folder, 'counters'), bootId: randomUUID() }

it('a worker that cannot start makes the start fail', async () => {
  const plane = new DataPlane({ poisonFolder, flows, counters, log })
  const start = { hostFd: openEvent(), underlayFd: openEvent(), surroundings, services }
  // It needs a socket to send from.
  await expect(plane.start({ ...start, senderFds: [] })).rejects.toMatchObject({ code: 'dataplane-failed' })
})

it('starts, takes pods, and stops', async () => {
  const plane = new DataPlane({ poisonFolder, flows, counters, log })
  await plane.start({
    hostFd: openEvent(),
    underlayFd: openEvent(),
    senderFds: [openEvent()],
    surroundings,
    services,
  })
  const ports = await Promise.all(['10.0.0.2', '10.0.0.3'].map((address) => plane.addPod(openEvent(), [address])))
  expect(new Set(ports).size).toBe(2)
  await Promise.all(ports.map((port) => plane.removePod(port)))
  await plane.stop()
})

it('a worker that is being loaded ends, whenever it is told to', async () => {
  const start = { memory: createBatchMemory(), eventFd: openEvent(), flowFile: flows.path, counterFile: counters.path }
  /** Resolves to how long it takes until it stands by, if it may. */
  const spawnFor = async (lifeMs: number): Promise<number> => {
    const begun = performance.now()
    const { promise: standing, resolve: standsBy } = Promise.withResolvers<void>()
    const control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4))
    const options = { start: { ...start, control }, counters: () => new Float64Array(), states: () => [], standsBy }
    const crew = new Crew({ ...options, poisonFolder, log })
    await Promise.race([standing, delay(lifeMs)])
    await crew.stop()
    return performance.now() - begun
  }
  const loadMs = await spawnFor(60_000)
  for (let i = 0; i < 30; i++) await spawnFor((loadMs * (80 + i)) / 100)
}, 60_000)
