/**
 * Generic receive offload (GRO) of the underlay interface: the kernel joins the datagrams of a train as they arrive, and
 * polderd fetches them in one piece instead of forty. Every network card has it on; a veth pair, the underlay of a lab or
 * of nodes in containers, has it off until somebody turns it on (docs/adr/0025).
 *
 * An interface that cannot has none, and nothing is wrong with it.
 */
import { PolderError } from '../errors.ts'
import { type NicError, receiveOffload, setReceiveOffload } from '../nic/nic.ts'
import type { Mended } from './mended.ts'

/** What the kernel says of an interface that is gone, and of one without this offload. */
const NOTHING_TO_DO = ['ENODEV', 'EOPNOTSUPP']

export function receiveOffloadIsOff(name: string): boolean {
  try {
    return receiveOffload(name) === 0
  } catch (error) {
    if (NOTHING_TO_DO.includes((error as NicError).code)) return false
    throw error
  }
}

/** Turns it on where it is off; answers what it changed. */
export function bringReceiveOffload(name: string): Mended[] {
  if (!receiveOffloadIsOff(name)) return []
  try {
    setReceiveOffload(name, 1)
  } catch (error) {
    const { code } = error as NicError
    if (NOTHING_TO_DO.includes(code)) return []
    throw new PolderError(
      'receive-offload-refused',
      `generic receive offload of ${name} could not be turned on (${code})`,
      `Turn it on yourself (ethtool -K ${name} gro on), or let it be: underlayGro: check.`,
    )
  }
  return [{ kind: 'offload', what: `gro of ${name}` }]
}
