/** What the data path learns about peers: it outlives tables, and a path's MTU is forgotten in time. */
import { expect, it } from 'vitest'
import { PeerMemory } from '../../daemon/dataplane/peer-memory.ts'
import { twoNodes } from '../support/two-nodes.ts'

const LIFETIME_MS = 600_000

it('an MTU is learned, written into fresh tables, and forgotten after ten minutes', () => {
  const memory = new PeerMemory()
  const { peers } = twoNodes()
  memory.learnMtu(peers, 0, 1400, 1000)
  expect(peers.mtuBytes(0)).toBe(1350)
  const fresh = twoNodes().peers
  memory.apply(fresh, 2000)
  expect(fresh.mtuBytes(0)).toBe(1350)
  memory.expire(fresh, 1000 + LIFETIME_MS - 1)
  expect(fresh.mtuBytes(0)).toBe(1350)
  memory.expire(fresh, 1000 + LIFETIME_MS)
  expect(fresh.mtuBytes(0)).toBe(1450)
})
