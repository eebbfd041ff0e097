/**
 * What CHECK expects, by the result of the whole chain's ADD that the runtime kept (`prevResult`): of what polder made,
 * only what that result still lists. A later plugin may have taken a route over, or an address away, and said so there.
 *
 * Whether it is there, daemon/attachments finds out.
 */
import type { Attachment, ExpectedAttachment } from '../attachments/attachment.ts'
import { CHECK_FAILED, CniError, INVALID_NETWORK_CONFIG } from './cni-error.ts'
import type { CniResult, NetworkConfig } from './network-config.ts'

export function resultOfAdd({ prevResult }: NetworkConfig): CniResult {
  if (prevResult !== undefined) return prevResult
  throw new CniError(INVALID_NETWORK_CONFIG, 'CHECK without prevResult', 'the runtime must pass the result of ADD')
}

export function expectedOf(
  prevResult: CniResult,
  { ifName, addresses }: Attachment,
): Pick<ExpectedAttachment, 'addresses' | 'destinations'> {
  if (!prevResult.interfaces.some(({ name, sandbox }) => name === ifName && sandbox)) throw notListed(ifName)
  const listed = new Set(prevResult.ips.map(({ address }) => address.split('/')[0]))
  const expected = addresses.filter((address) => listed.has(address))
  // None at all: that result is of another attachment.
  if (expected.length === 0) throw notListed(addresses.join(', '))
  return { addresses: expected, destinations: prevResult.routes.map(({ dst }) => dst) }
}

function notListed(what: string): CniError {
  return new CniError(CHECK_FAILED, `prevResult does not have ${what}`, 'recreate the pod')
}
