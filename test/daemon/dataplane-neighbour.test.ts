/** Who may teach the data path a MAC: a kernel VXLAN peer that asks for ours, and nobody else. */
import { expect, it } from 'vitest'
import { Batch } from '../../daemon/dataplane/batch.ts'
import { createBatchMemory } from '../../daemon/dataplane/batch-memory.ts'
import { COUNTER_SLOTS } from '../../daemon/dataplane/protocol.ts'
import * as d from '../../daemon/nic/descriptors.ts'
import { parseAddress } from '../../packet/address.ts'
import { buildBytes } from '../support/build-packet.ts'
import { envelopeBytes } from '../support/envelope.ts'
import { fromHex, toHex } from '../support/hex.ts'
import { POD_A, twoNodes } from '../support/two-nodes.ts'

const AT = 128
/** Who has 10.244.1.1? Tell 10.244.2.0, which is at 02:bd:bd:bd:bd:bd. */
const QUESTION = fromHex('0001080006040001 02bdbdbdbdbd 0af40200 000000000000 0af40101')
const ASKING_MAC = '02bdbdbdbdbd'

it.each([
  ['a polder', false],
  ['a kernel VXLAN device', true],
])('a polder that asks teaches nothing, a kernel peer its MAC: %s', (_, foreign) => {
  const memory = createBatchMemory()
  const sent: string[] = []
  const batch = new Batch(twoNodes({ foreign }), new Float64Array(COUNTER_SLOTS), memory, () => {
    // The destination of the frame in the envelope.
    const mac = memory.tx[d.TX_OFFSET]! - 14
    sent.push(toHex(memory.arena.slice(mac, mac + 6)))
  })
  const receive = (port: number, bytes: Uint8Array): void => {
    memory.arena.set(bytes, AT)
    memory.rx.fill(0)
    memory.rx[d.RX_PORT] = port
    memory.rx[d.RX_OFFSET] = AT
    memory.rx[d.RX_LENGTH] = bytes.length
    memory.rx.set(parseAddress('192.0.2.2'), d.RX_SRC_ADDR)
    batch.begin(1)
    batch.run(1000)
  }
  const question = envelopeBytes(QUESTION, 0x0806)
  question.set(fromHex(ASKING_MAC), 14)
  const packet = buildBytes('udp 10.244.1.5:1 > 10.244.2.9:2')
  receive(POD_A, packet)
  receive(d.PORT_UNDERLAY, question)
  receive(POD_A, packet)
  const [before, , after] = sent
  expect(sent.length).toBe(3)
  expect(after).toBe(foreign ? ASKING_MAC : before)
})
