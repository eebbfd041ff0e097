/**
 * `polder lab up`: every step first looks whether its work is done, so that a lab that is up stays as it is and a lab
 * that is half up, after a Ctrl-C or a crash, is completed.
 */
import { ensureContainerd } from './containerd.ts'
import { importImages, makeImages } from './images.ts'
import { type Lab, type LabNode, nodeOf, underlayAddresses } from './lab.ts'
import { withLock } from './lock.ts'
import { ensureNode } from './node.ts'
import { ensurePolderd, nodeInfo, waitForReady } from './polderd.ts'
import { requireRoot } from './root.ts'
import { ensureBridge } from './underlay.ts'

export interface UpOptions {
  nodes: number
  images: boolean
}

export type Say = (line: string) => void

export async function up(lab: Lab, options: UpOptions, say: Say): Promise<void> {
  requireRoot('polder lab up')
  await withLock(lab, async () => {
    if (options.images) {
      say('images: busybox, ubuntu, nginx and httpd, made from packages of the distribution')
      await makeImages()
    }
    await ensureBridge(lab)
    const nodes = Array.from({ length: options.nodes }, (_, index) => nodeOf(lab, index + 1))
    const outcomes = await Promise.allSettled(nodes.map((node) => bringUp(node, options.images, say)))
    // Only now, so that no node is left half way because another one failed.
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  })
}

async function bringUp(node: LabNode, images: boolean, say: Say): Promise<void> {
  const { init, started } = await ensureNode(node)
  const { ipv4, ipv6 } = underlayAddresses(node)
  say(`${node.name}: ${started ? 'has its own network, files and processes' : 'is there'}, address ${ipv4} and ${ipv6}`)
  await ensureContainerd(node, init)
  say(`${node.name}: containerd runs`)
  await Promise.all([images && loadImages(node, init, say), ensurePolderd(node, init).then(() => waitForReady(node))])
  const ranges = (await nodeInfo(node))?.podCIDRs.join(' and ')
  say(`${node.name}: polderd runs and the node is Ready: its pods get addresses from ${ranges}`)
}

async function loadImages(node: LabNode, init: number, say: Say): Promise<void> {
  if (await importImages(node, init)) say(`${node.name}: images are loaded`)
}
