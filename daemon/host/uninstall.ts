/**
 * `polderd --uninstall`: takes from this machine what polderd put there, and answers what that was. polderd must not run
 * any more. Cluster folder and state stay, so that it can be installed again as the same node, unless `purge`.
 *
 * What it leaves: interfaces of pods, which go with their pods; forwarding and accept_ra, which others may rely on by
 * now. Of the folders, which a configuration may have put anywhere, only what polder itself wrote is removed.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FIXED_FOLDERS } from '../cluster/folder/layout.ts'
import { conflistFiles, removeConflist } from '../cni/conflist.ts'
import type { Config } from '../config/config.ts'
import { countersPath, flowsPath } from '../config/places.ts'
import { endKeeper } from '../handover/open.ts'
import { resumePath } from '../handover/resume.ts'
import { Netlink } from '../netlink/netlink.ts'
import { RTPROT_POLDER } from '../netlink/route.ts'
import { HOST_DEVICE } from './device-name.ts'
import { removeTable, TABLE } from './nftables.ts'
import { refuseWhileRunning } from './running.ts'

/** Of the state folder. */
const OWN_STATE = ['attachments', 'spool', 'boot-id']

/** Resolves to lines that say what was removed, and what stays. */
export async function uninstall(config: Config, purge: boolean): Promise<string[]> {
  await refuseWhileRunning(config.socket, 'Stop it before it is uninstalled: systemctl stop polderd')
  const said: string[] = []
  const present = conflistFiles(config).filter((path) => existsSync(path))
  // First, so that no runtime asks for a network that is going.
  removeConflist(config)
  said.push(...present.map((path) => `removed ${path}`))
  if (endKeeper(config.socket)) said.push('ended the keeper of descriptors')
  if (await removeTable()) said.push(`removed nftables table ${TABLE}`)
  said.push(...removeNetwork())
  const { socket } = config
  for (const path of [socket, resumePath(socket), flowsPath(socket), countersPath(socket)])
    rmSync(path, { force: true })
  said.push(...(purge ? purgeFolders(config) : keptFolders(config)))
  said.push('kept forwarding (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding) and accept_ra as they are')
  return said
}

/** Routes first: those through other devices do not go with polder0. */
function removeNetwork(): string[] {
  using netlink = new Netlink()
  const said: string[] = []
  for (const { dst, index } of netlink.routes({ protocol: RTPROT_POLDER })) {
    if (netlink.deleteRoute({ dst, ...(index !== undefined && { index }) })) said.push(`removed route ${dst}`)
  }
  const link = netlink.link(HOST_DEVICE)
  if (link?.kind === 'tun' && netlink.deleteLink(link.index)) said.push(`removed device ${HOST_DEVICE}`)
  return said
}

function keptFolders({ stateDir, clusterFolder }: Config): string[] {
  const kept = [stateDir, clusterFolder].filter((folder) => existsSync(folder))
  return kept.map((folder) => `kept ${folder} (--purge removes it)`)
}

function purgeFolders({ stateDir, clusterFolder, nodeName }: Config): string[] {
  const said: string[] = []
  const others = nodesIn(clusterFolder).filter((name) => name !== nodeName)
  if (others.length > 0) said.push(`kept ${clusterFolder}: it is also that of ${others.join(', ')}`)
  else said.push(...purgeFolder(clusterFolder, [...new Set(FIXED_FOLDERS.map((path) => path.split('/')[0]!)), '.lock']))
  said.push(...purgeFolder(stateDir, OWN_STATE))
  return said
}

function nodesIn(clusterFolder: string): string[] {
  const folder = join(clusterFolder, 'nodes')
  if (!existsSync(folder)) return []
  return readdirSync(folder).flatMap((name) => name.match(/^([^.].*?)(?<!\.status)\.yaml$/)?.[1] ?? [])
}

/** Removes what is ours in it, and the folder itself if nothing else is there. */
function purgeFolder(folder: string, ours: readonly string[]): string[] {
  if (!existsSync(folder)) return []
  for (const name of ours) rmSync(join(folder, name), { recursive: true, force: true })
  const left = readdirSync(folder)
  if (left.length > 0) return [`kept ${folder}: there is something else in it (${left.slice(0, 3).join(', ')})`]
  rmdirSync(folder)
  return [`removed ${folder}`]
}
