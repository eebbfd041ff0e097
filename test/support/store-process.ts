/**
 * A process with a folder store of its own, for cluster-folder.ts: `FOLDER claim NODE` or `FOLDER bind POD NODE`. Prints
 * one line of JSON, the answer or `{error}`, and then holds what it has until it is killed.
 */
import { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'

const [folder = '', verb, name = '', nodeName = ''] = process.argv.slice(2)
const ranges = { podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'], nodeMaskSizeIPv4: 24, nodeMaskSizeIPv6: 64 }
const store = await FolderStore.open({ ...ranges, folder, log: { warn: () => {}, info: () => {} } })

async function answer(): Promise<unknown> {
  if (verb === 'claim') return (await store.claimNode(name)).spec.podCIDRs
  const pod = store.get('Pod', name, 'default')
  return pod !== undefined && (await store.bind(pod, nodeName))
}

const result = await answer().catch((error: Error) => ({ error: error.message }))
console.log(JSON.stringify(result))
process.stdin.resume()
process.stdin.on('end', () => process.exit())
