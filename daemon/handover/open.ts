/**
 * Who holds this polderd's descriptors, and what an earlier one left there: systemd where it runs polderd as a service
 * with a store, else the keeper, which is started where none answers. A keeper that is not needed any more (polderd has
 * become a service, or `keeper` was switched off) hands over what it has and ends.
 */
import { dirname, join } from 'node:path'
import { type Logger, pino } from 'pino'
import type { Config } from '../config/config.ts'
import { PolderError } from '../errors.ts'
import { FdStore, type Holder } from './fd-store.ts'
import { Keeper, keeperPath } from './keeper.ts'
import type { Systemd } from './systemd.ts'

export interface FdStoreOptions {
  config: Pick<Config, 'socket' | 'keeper'>
  systemd: Systemd | undefined
  /** What systemd gave this process at its start. */
  passed: Map<string, number>
  /** Where a running polderd that is taken over has lent its descriptors. */
  lentAt: string | undefined
  /** See FdStore. */
  close: (fd: number) => void
  log: Logger
}

export function openFdStore({ config, systemd, passed, lentAt, close, log }: FdStoreOptions): FdStore {
  const { socket, keeper } = config
  const path = keeperPath(socket)
  const found = new Map(passed)
  // Whoever holds them for the other one does so for us: nothing is put there anew.
  if (lentAt !== undefined && lentAt !== path) takeFrom(lentAt, found, undefined)
  if (systemd === undefined && keeper) {
    const opened = openKeeper(path, log)
    const held = opened?.list() ?? new Map<string, number>()
    for (const [name, fd] of found) if (!held.has(name)) opened?.put(name, fd)
    for (const [name, fd] of held) found.set(name, fd)
    return new FdStore(opened, found, log, close)
  }
  const holder = systemd?.holder()
  takeFrom(path, found, holder)
  return new FdStore(holder, found, log, close)
}

/**
 * Lends all that `fdStore` has to a successor, and resolves to the path of the keeper that it finds it at: ours, or, as
 * systemd gives nothing back to a process that runs, one for this purpose alone.
 */
export function lendDescriptors(
  { socket, keeper }: FdStoreOptions['config'],
  systemd: boolean,
  store: FdStore,
): string {
  store.lend()
  if (!systemd && keeper && Keeper.isAt(keeperPath(socket))) return keeperPath(socket)
  const path = courierPath(socket)
  const courier = Keeper.open(path)
  for (const [name, fd] of store.held()) courier.put(name, fd)
  courier.close()
  return path
}

/** The successor does not come. */
export function takeDescriptorsBack(socket: string, store: FdStore): void {
  Keeper.find(courierPath(socket))?.end()
  store.takeBack()
}

function courierPath(socket: string): string {
  return join(dirname(socket), 'takeover.sock')
}

/** What a keeper holds now, for whoever only looks: close what is claimed, and the leftovers. */
export function peekFdStore(socket: string): FdStore {
  const keeper = Keeper.find(keeperPath(socket))
  const found = keeper?.list() ?? new Map<string, number>()
  keeper?.close()
  return new FdStore(undefined, found, pino({ level: 'silent' }))
}

/** Ends the keeper, if one runs. */
export function endKeeper(socket: string): boolean {
  const keeper = Keeper.find(keeperPath(socket))
  keeper?.end()
  return keeper !== undefined
}

/** Without a keeper polderd works; only a restart is felt. With one that another polderd uses, two would be one node. */
function openKeeper(path: string, log: Logger): Keeper | undefined {
  try {
    return Keeper.open(path)
  } catch (error) {
    if (error instanceof PolderError) throw error
    log.error({ err: error }, 'the keeper cannot be started: packets will be lost while polderd restarts')
    return undefined
  }
}

function takeFrom(path: string, found: Map<string, number>, holder: Holder | undefined): void {
  const keeper = Keeper.find(path)
  if (keeper === undefined) return
  for (const [name, fd] of keeper.list()) {
    found.set(name, fd)
    holder?.put(name, fd)
  }
  keeper.end()
}
