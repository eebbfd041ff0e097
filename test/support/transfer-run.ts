/** Runs the two ends of a transfer (transfer.ts) in two namespaces. */
import { join } from 'node:path'
import { type Netns, until } from './netns.ts'

const PROGRAM = join(import.meta.dirname, 'transfer.ts')
const PORT = '7000'

export interface Transferred {
  /** The other end's address. */
  from: string
  sent: string
  received: string
  receivedBytes: number
}

/** `serve` listens on `address`; each end sends so many bytes. Resolves to [server, client]. */
export async function transfer(
  serve: Netns,
  address: string,
  connect: Netns,
  bytes: number,
): Promise<[Transferred, Transferred]> {
  const server = serve.spawn(process.execPath, PROGRAM, 'listen', address, PORT, String(bytes))
  await until(() => server.stderr.includes('listening'))
  const client = await connect.run(process.execPath, PROGRAM, 'connect', address, PORT, String(bytes))
  await server.ended
  return [JSON.parse(server.stdout), JSON.parse(client)]
}
