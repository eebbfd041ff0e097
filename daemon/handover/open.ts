/**
 * Who holds this polderd's descriptors, and what an earlier one left there: systemd where it runs polderd as a service
 * with a store, else the keeper, which is started where none answers. A keeper that is not needed any more (polderd has
 * become a service, or `keeper` was switched off) hands over what it has and ends.
 */
import { type Logger, pino } from 'pino'
import type { Config } from '../config/config.ts'
import { PolderError } from '../errors.ts'
import { FdStore, type Holder } from './fd-store.ts'
import { Keeper, keeperPath } from './keeper.ts'
import type { Systemd } from './systemd.ts'

/** `passed`: what systemd gave this process at its start. */
export function openFdStore(
  { socket, keeper }: Pick<Config, 'socket' | 'keeper'>,
  systemd: Systemd | undefined,
  passed: Map<string, number>,
  log: Logger,
): FdStore {
  const path = keeperPath(socket)
  const found = new Map(passed)
  if (systemd === undefined && keeper) {
    const opened = openKeeper(path, log)
    for (const [name, fd] of opened?.list() ?? []) found.set(name, fd)
    return new FdStore(opened, found, log)
  }
  const holder = systemd?.holder()
  takeFrom(path, found, holder)
  return new FdStore(holder, found, log)
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
