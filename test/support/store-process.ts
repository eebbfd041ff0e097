/**
 * A process with a folder store of its own, for cluster-folder.ts: `FOLDER NODE [POD]` claims a node and, where a pod is
 * named, tries to bind it to this node. Prints one line of JSON, `{ranges, bound}` or `{error}`, and then holds what it
 * has until it is killed.
 */
import { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'

const [folder = '', nodeName = '', podName] = process.argv.slice(2)
const ranges = {
  podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
  serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  loadBalancerPools: [],
  nodeMaskSizeIPv4: 24,
  nodeMaskSizeIPv6: 64,
}
const store = await FolderStore.open({ ...ranges, folder, log: { warn: () => {}, info: () => {} } })

async function answer(): Promise<unknown> {
  const { podCIDRs } = (await store.claimNode(nodeName)).spec
  const pod = podName === undefined ? undefined : store.get('Pod', podName, 'default')
  return { ranges: podCIDRs, bound: pod !== undefined && (await store.bind(pod, nodeName)) }
}

const result = await answer().catch((error: Error) => ({ error: error.message }))
console.log(JSON.stringify(result))
process.stdin.resume()
process.stdin.on('end', () => process.exit())
