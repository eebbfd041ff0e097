/** What a worker rehearses is what it will do: every packet is decided as a real one would be, and nothing is dropped. */
import { expect, it } from 'vitest'
import { SLOTS } from '../../daemon/dataplane/batch-memory.ts'
import { COUNT_DROPS, COUNT_PACKETS, FROM_PEER, FROM_POD } from '../../daemon/dataplane/protocol.ts'
import { Rehearsal } from '../../daemon/dataplane/rehearsal.ts'
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'

it('carries packets of both families and transports both ways, drops none, and comes to an end', () => {
  const rehearsal = new Rehearsal()
  let steps = 0
  for (; !rehearsal.isOver; steps++) rehearsal.step()
  const { counters } = rehearsal
  expect(counters[COUNT_PACKETS + FROM_POD]).toBe((steps * SLOTS) / 2)
  expect(counters[COUNT_PACKETS + FROM_PEER]).toBe((steps * SLOTS) / 2)
  expect(DROP_REASONS.filter((_, i) => counters[COUNT_DROPS + i]! > 0)).toEqual([])
})
