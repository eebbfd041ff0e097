/**
 * Removes a device without waiting for it on the main thread. The kernel answers RTM_DELLINK only after several RCU
 * grace periods: 20 ms measured, where all other work in a namespace takes tenths of one. Netlink is handled inside the
 * sender's system call, so the request goes out by write(2) on a thread of libuv's pool, and the answer is there when
 * the write returns. Several devices share their grace periods: 16 at once took 70 ms.
 */
import { read, write } from 'node:fs'
import { promisify } from 'node:util'
import { encodeLinkQuery, RTM_DELLINK } from '../netlink/link.ts'
import { decodeError, decodeMessages, encodeMessage, NLM_F_ACK, NLM_F_REQUEST } from '../netlink/message.ts'
import { closeFd, openNetlink } from '../nic/nic.ts'

/** An acknowledgement quotes the request. */
const ANSWER_BYTES_MAX = 4096

const writeAside = promisify(write)
const readAside = promisify(read)

/** Throws NetlinkError; `ENODEV` is no error, for then it is gone. */
export async function removeLink(netnsFd: number, index: number): Promise<void> {
  const fd = openNetlink(netnsFd, 0)
  try {
    const flags = NLM_F_REQUEST | NLM_F_ACK
    await writeAside(fd, encodeMessage({ type: RTM_DELLINK, flags, sequence: 1 }, encodeLinkQuery(index)))
    const { bytesRead, buffer } = await readAside(fd, new Uint8Array(ANSWER_BYTES_MAX), 0, ANSWER_BYTES_MAX, null)
    for (const answer of decodeMessages(buffer.subarray(0, bytesRead))) {
      const error = decodeError(answer, `delete link ${index}`)
      if (error !== undefined && error.code !== 'ENODEV') throw error
    }
  } finally {
    closeFd(fd)
  }
}
